/*
 * loadd: what runs in a lab guest. It makes CPU and memory load by a pattern, brings hot-added CPUs on line, and
 * says once a second on the console what the guest itself sees:
 *
 *   LOAD up=12.3 ncpu=2 memtotal=245 memavail=120 want=1.50 got=0.49 memwant=120 memheld=96 oom=0
 *   LOAD-TURN up=12.1 want=1.50 memwant=120      at once, whenever the pattern asks for something else
 *
 * want/got are cores: the CPU work the pattern asks for and the part of it that was done. Work is counted in
 * fixed units and their usual duration, not in the guest's CPU time: a guest that is held back from outside does not
 * know it. memwant/memheld are MiB; the holder waits while less than RESERVE_MIB is available (memheld < memwant is
 * starvation), or pushes on into the OOM killer with "load.push=1".
 *
 * Patterns come on the kernel command line and, live, as a line on the virtio port "foreshape.load":
 *   load.cpu=0.3             for ever
 *   load.cpu=0.2@20,1.5@40,0.2    steps of VALUE@SECONDS, the last one holds
 *   load.cpu=0.2@20,1@20*    for ever again
 *   load.mem=...             the same, in MiB
 *   load.push=0|1
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/netlink.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 32, BURNERS = 4, RING = 256, RESERVE_MIB = 12, MOST_MIB = 65536 };
static const double SLOT_S = 0.1, REPORT_S = 1.0, LOOK_S = 0.1;
static const char *PORT = "/dev/virtio-ports/foreshape.load";

typedef struct {
    int steps, loop;
    double value[STEPS], until[STEPS]; /* until: seconds since the pattern began */
    double began;
} Pattern;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Pattern cpu_pattern, memory_pattern;
static int push;
static int console = 1;
static long unit_loops = 1000;        /* loops of one unit of work, about a millisecond */
static double unit_costs[RING];       /* the last units' durations, seconds */
static unsigned unit_at;              /* next place in the ring */
static double units_done;             /* since the last report */
static volatile long held_mib;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double seconds) {
    if (seconds <= 0) return;
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&t, NULL);
}

static void say(const char *line) {
    if (write(console, line, strlen(line)) < 0) nap(0.01);
}

/* --- patterns ------------------------------------------------------------------------------------------------- */

static void read_pattern(Pattern *p, const char *text) {
    double end = 0;
    memset(p, 0, sizeof *p);
    while (p->steps < STEPS && *text) {
        char *rest;
        double value = strtod(text, &rest), seconds = 1e9;
        if (rest == text) break;
        if (*rest == '@') seconds = strtod(rest + 1, &rest);
        end += seconds;
        p->value[p->steps] = value;
        p->until[p->steps++] = end;
        p->loop = *rest == '*';
        if (*rest != ',') break;
        text = rest + 1;
    }
    p->began = now();
}

static double wanted(Pattern *p) {
    double value = 0;
    pthread_mutex_lock(&lock);
    if (p->steps) {
        double t = now() - p->began;
        if (p->loop) t = fmod(t, p->until[p->steps - 1]);
        value = p->value[p->steps - 1];
        for (int i = p->steps - 1; i >= 0; i--)
            if (t < p->until[i]) value = p->value[i];
    }
    pthread_mutex_unlock(&lock);
    return value;
}

static void obey(char *line) {
    char *save;
    pthread_mutex_lock(&lock);
    for (char *word = strtok_r(line, " \n\t", &save); word; word = strtok_r(NULL, " \n\t", &save)) {
        if (!strncmp(word, "load.cpu=", 9)) read_pattern(&cpu_pattern, word + 9);
        else if (!strncmp(word, "load.mem=", 9)) read_pattern(&memory_pattern, word + 9);
        else if (!strncmp(word, "load.push=", 10)) push = atoi(word + 10);
    }
    pthread_mutex_unlock(&lock);
}

/* --- CPU ------------------------------------------------------------------------------------------------------ */

static void work(long loops) {
    volatile unsigned long x = 88172645463325252UL;
    for (long i = 0; i < loops; i++) {
        x ^= x << 13;
        x ^= x >> 7;
    }
}

static void find_unit(void) { /* the quickest of a few tries: the others were interrupted */
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        double t = now();
        work(20000);
        t = now() - t;
        if (t < best) best = t;
    }
    unit_loops = (long)(20000 * 0.001 / best) + 1;
    for (int i = 0; i < RING; i++) unit_costs[i] = 0.001;
}

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static double unit_cost(void) { /* the median: units that were held back midway do not move it */
    double sorted[RING];
    pthread_mutex_lock(&lock);
    memcpy(sorted, unit_costs, sizeof sorted);
    pthread_mutex_unlock(&lock);
    qsort(sorted, RING, sizeof *sorted, by_size);
    return sorted[RING / 2];
}

static void count_unit(double took) {
    pthread_mutex_lock(&lock);
    unit_costs[unit_at++ % RING] = took;
    units_done++;
    pthread_mutex_unlock(&lock);
}

static void *burner(void *number) { /* does its share of the wanted work in every slot; what is missed is lost */
    double first = (double)(long)number;
    for (;;) {
        double slot_end = now() + SLOT_S, share = fmin(1, fmax(0, wanted(&cpu_pattern) - first));
        for (double todo = share * SLOT_S / unit_cost(); todo > 0.5 && now() < slot_end; todo--) {
            double began = now();
            work(unit_loops);
            count_unit(now() - began);
        }
        nap(slot_end - now());
    }
    return NULL;
}

/* --- memory --------------------------------------------------------------------------------------------------- */

static long meminfo(const char *key) {
    char line[128];
    long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) kib = atol(line + strlen(key) + 1);
    if (f) fclose(f);
    return kib / 1024;
}

static long oom_kills(void) {
    char line[128];
    long n = 0;
    FILE *f = fopen("/proc/vmstat", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "oom_kill %ld", &n);
    if (f) fclose(f);
    return n;
}

static void *holder(void *unused) { /* holds the wanted MiB in touched pages */
    char *area = mmap(NULL, (size_t)MOST_MIB << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    (void)unused;
    if (area == MAP_FAILED) return NULL;
    madvise(area, (size_t)MOST_MIB << 20, MADV_NOHUGEPAGE);
    for (;;) {
        long want = (long)wanted(&memory_pattern), held = held_mib;
        if (want > MOST_MIB) want = MOST_MIB;
        while (held < want && (push || meminfo("MemAvailable:") > RESERVE_MIB)) {
            for (long at = 0; at < 1 << 20; at += 4096) area[((size_t)held << 20) + (size_t)at] = (char)(held + 1);
            held_mib = ++held;
        }
        if (held > want) {
            madvise(area + ((size_t)want << 20), (size_t)(held - want) << 20, MADV_DONTNEED);
            held_mib = want;
        }
        nap(LOOK_S);
    }
    return NULL;
}

/* --- CPUs that come while we run ------------------------------------------------------------------------------- */

static void *cpu_greeter(void *unused) { /* only new CPUs: one that the guest agent took off line stays so */
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    char event[8192], path[512];
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    (void)unused;
    if (s < 0 || bind(s, (void *)&address, sizeof address)) return NULL;
    for (;;) {
        ssize_t n = recv(s, event, sizeof event - 1, 0);
        if (n <= 0) continue;
        event[n] = 0;
        if (strncmp(event, "add@", 4) || !strstr(event, "/system/cpu/cpu")) continue;
        snprintf(path, sizeof path, "/sys%.400s/online", event + 4);
        int f = open(path, O_WRONLY | O_CLOEXEC);
        if (f < 0 || write(f, "1", 1) != 1) say("LOAD-ERROR a new CPU could not be brought on line\n");
        if (f >= 0) close(f);
    }
    return NULL;
}

/* --- words from outside and words to the console ---------------------------------------------------------------- */

static void *listener(void *unused) {
    int port = -1;
    char line[1024];
    (void)unused;
    for (;;) {
        if (port < 0) port = open(PORT, O_RDWR | O_CLOEXEC);
        ssize_t n = port < 0 ? 0 : read(port, line, sizeof line - 1);
        if (n <= 0) { /* no such port, or nobody at its other end */
            nap(0.2);
            continue;
        }
        line[n] = 0;
        obey(line);
        if (write(port, "ok\n", 3) < 0) nap(0.2);
    }
    return NULL;
}

static void report(double seconds) {
    char line[512];
    double got = units_done * unit_cost() / seconds;
    pthread_mutex_lock(&lock);
    units_done = 0;
    pthread_mutex_unlock(&lock);
    snprintf(line, sizeof line,
             "LOAD up=%.2f ncpu=%ld memtotal=%ld memavail=%ld want=%.2f got=%.2f memwant=%.0f memheld=%ld oom=%ld\n", now(),
             sysconf(_SC_NPROCESSORS_ONLN), meminfo("MemTotal:"), meminfo("MemAvailable:"), wanted(&cpu_pattern), got,
             wanted(&memory_pattern), held_mib, oom_kills());
    say(line);
}

static void tell_turns(void) { /* what is wanted now, if it is not what was wanted at the last look */
    static double cpu = -1, memory = -1;
    double cpu_now = wanted(&cpu_pattern), memory_now = wanted(&memory_pattern);
    char line[128];
    if (cpu_now == cpu && memory_now == memory) return;
    cpu = cpu_now;
    memory = memory_now;
    snprintf(line, sizeof line, "LOAD-TURN up=%.2f want=%.2f memwant=%.0f\n", now(), cpu, memory);
    say(line);
}

static void read_command_line(void) {
    char line[4096];
    int f = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = f < 0 ? 0 : read(f, line, sizeof line - 1);
    line[n > 0 ? n : 0] = 0;
    if (f >= 0) close(f);
    obey(line);
}

static void start(void *(*body)(void *), long number) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_create(&thread, &small, body, (void *)number);
}

int main(void) {
    console = open("/dev/console", O_WRONLY | O_NOCTTY);
    find_unit();
    read_command_line();
    for (long i = 0; i < BURNERS; i++) start(burner, i);
    start(holder, 0);
    start(cpu_greeter, 0);
    start(listener, 0);
    long cpus = 0, total = 0;
    for (double last = now();; nap(LOOK_S)) {
        tell_turns();
        long cpus_now = sysconf(_SC_NPROCESSORS_ONLN), total_now = meminfo("MemTotal:");
        int changed = cpus_now != cpus || total_now != total;
        cpus = cpus_now;
        total = total_now;
        if (!changed && now() - last < REPORT_S) continue;
        report(fmax(now() - last, 0.01));
        last = now();
    }
}

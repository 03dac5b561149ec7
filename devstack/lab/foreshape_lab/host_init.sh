#!/bin/bash
# First process of a lab host, inside its namespaces: private folders, its own view of cgroups, libvirtd, then reaping.
# From the environment: LAB_HOST name, LAB_DIR state folder, LAB_CGROUPS "controllers:path ..." (version 1) or "unified".
set -eu
mount --make-rprivate /
hostname "$LAB_HOST"

mkdir -p /run/libvirt /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
mount --bind "$LAB_DIR/run" /run/libvirt
mount --bind "$LAB_DIR/etc" /etc/libvirt
mount --bind "$LAB_DIR/lib" /var/lib/libvirt
mount --bind "$LAB_DIR/log" /var/log/libvirt
mount --bind "$LAB_DIR/cache" /var/cache/libvirt
mount --bind "$LAB_DIR/hosts" /etc/hosts
[ -d /run/dbus ] && mount -t tmpfs tmpfs /run/dbus # else libvirt asks the real machine's machined for cgroups

# The old mounts must go, not only be hidden: libvirt reads /proc/mounts and would find them.
umount -l -R /sys/fs/cgroup
mount -t sysfs sysfs /sys
if [ "$LAB_CGROUPS" = unified ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mkdir -p /sys/fs/cgroup/daemons # processes live in leaves only
  echo $$ > /sys/fs/cgroup/daemons/cgroup.procs
  for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" > /sys/fs/cgroup/cgroup.subtree_control || true; done
else
  mount -t tmpfs tmpfs /sys/fs/cgroup
  for controllers in $LAB_CGROUPS; do
    mkdir "/sys/fs/cgroup/$controllers"
    mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers"
    for c in ${controllers//,/ }; do [ -e "/sys/fs/cgroup/$c" ] || ln -s "$controllers" "/sys/fs/cgroup/$c"; done
  done
fi

# libvirt must see no KVM: some machines have a /dev/kvm on which guests hang. A file that is no device does it.
if [ -e /dev/kvm ]; then
  : > "$LAB_DIR/no-kvm"
  mount --bind "$LAB_DIR/no-kvm" /dev/kvm
  mount -o remount,bind,ro /dev/kvm
fi

/usr/sbin/libvirtd -d -l -p /run/libvirt/libvirtd.pid
# This shell is the namespace's first process: it must last, and reap what is left to it.
while :; do wait -n 2> /dev/null || sleep 1; done

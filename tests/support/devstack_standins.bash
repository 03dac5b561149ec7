# shellcheck shell=bash
# Stands in for DevStack, as far as Foreshape's plugin calls it: every function of devstack_functions.tsv, as strict as DevStack is lenient.
# Each call goes to $CALLS, a line of JSON; a wrong number of arguments, or a function that DevStack does not have, ends the run.
# Our own words, not DevStack's code: what a function does is what its documentation promises.

command_not_found_handle() {
    echo "UNKNOWN to DevStack and to this machine: $1" >&2
    # also from within $(...): the whole run ends
    kill -TERM $$
    return 127
}

# _json TEXT: as a string of JSON, in $REPLY (a subshell for each argument would cost most of the time)
_json() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    REPLY="\"$text\""
}

declare -A LEAST MOST
while IFS=$'\t' read -r _name _file _least _most _; do
    LEAST[$_name]=$_least MOST[$_name]=$_most
done < <(grep -v "^#" "$STANDINS/devstack_functions.tsv")

# _called NAME ARGUMENT...: noted, and refused with a number of arguments that DevStack's function does not take
_called() {
    local name=$1 line argument
    shift
    if (($# < LEAST[$name])) || { [[ "${MOST[$name]}" != "-" ]] && (($# > MOST[$name])); }; then
        echo "$name: $# arguments, DevStack takes ${LEAST[$name]} to ${MOST[$name]}: $*" >&2
        kill -TERM $$
        return 1
    fi
    line="[\"$name\""
    for argument in "$@"; do
        _json "$argument"
        line+=", $REPLY"
    done
    echo "$line]" >>"$CALLS"
}

define_plugin() { _called define_plugin "$@"; }
echo_summary() { _called echo_summary "$@"; }
pip_install() { _called pip_install "$@"; }
apache_site_config_for() { echo "$WORLD/etc/apache2/$1.conf"; }

start_tls_proxy() {
    _called start_tls_proxy "$@"
    mkdir -p "$WORLD/etc/apache2"
    touch "$(apache_site_config_for "$1-tls-proxy")"
}

die() {
    _called die "$@"
    shift
    echo "[ERROR] $*" >&2
    exit 1
}

is_service_enabled() {
    local service
    for service in "$@"; do
        if [[ ",$ENABLED_SERVICES," == *",$service,"* ]]; then
            return 0
        fi
    done
    return 1
}

enable_service() {
    _called enable_service "$@"
    if [[ ",$DISABLED_SERVICES," != *",$1,"* ]]; then
        ENABLED_SERVICES+=",$1"
    fi
}

trueorfalse() {
    case "${!2:-$1}" in
        1 | yes | Yes | YES | true | True | TRUE) echo True ;;
        0 | no | No | NO | false | False | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

ipv6_unquote() { tr -d '[]' <<<"$1"; }

# As DevStack's: the option becomes its section's first line, or its line is changed; a commented line does not count.
iniset() {
    local text
    _called iniset "$@"
    touch "$1"
    text=$(SECTION="[$2]" OPTION=$3 LINE="$3 = $4" awk '
        BEGIN { section = ENVIRON["SECTION"]; option = ENVIRON["OPTION"] }
        { line[NR] = $0; split($0, word, /[ \t]*=/) }
        /^\[/ { inside = $0 == section; if (inside) begin = NR }
        inside && word[1] == option { there = NR }
        END {
            if (!begin) { line[++NR] = section; begin = NR }
            for (n = 1; n <= NR; n++) {
                print n == there ? ENVIRON["LINE"] : line[n]
                if (n == begin && !there) print ENVIRON["LINE"]
            }
        }' "$1")
    echo "$text" >"$1"
}

# Keystone: each answers with the id of what it found or made.
get_or_create_role() {
    _called get_or_create_role "$@"
    echo "role-id-$1"
}
get_or_create_user() {
    _called get_or_create_user "$@"
    echo "user-id-$1"
}
get_or_add_user_project_role() {
    _called get_or_add_user_project_role "$@"
    echo "role-id-$1"
}
get_or_create_service() {
    _called get_or_create_service "$@"
    echo "service-id-$1"
}
get_or_create_endpoint() {
    _called get_or_create_endpoint "$@"
    echo "endpoint-id-$1"
}

# shellcheck disable=SC2086
run_process() {
    _called run_process "$@"
    is_service_enabled "$1" || return 0
    if [[ "$2" != /* || "$2" == *sudo* ]]; then
        echo "run_process: systemd cannot start this: $2" >&2
        exit 1
    fi
    touch "$UNITS/$1"
    if [[ -n "${REAL_PROGRAMS:-}" ]]; then
        env $5 $2 </dev/null >"$UNITS/$1.log" 2>&1 & # words are split here, as systemd splits them
        echo $! >"$UNITS/$1"
    fi
}

stop_process() {
    _called stop_process "$@"
    is_service_enabled "$1" || return 0
    if [[ -s "$UNITS/$1" ]]; then
        kill "$(<"$UNITS/$1")"
        tail --pid="$(<"$UNITS/$1")" -f /dev/null
    fi
    rm -f "$UNITS/$1"
}

wait_for_service() {
    _called wait_for_service "$@"
    if [[ -n "${REAL_PROGRAMS:-}" ]]; then
        local address=${2#*://} until=$((SECONDS + $1))
        address=${address%%/*}
        until (: <>"/dev/tcp/${address/://}") 2>/dev/null; do
            ((SECONDS < until)) || return 1
            sleep 0.2
        done
    fi
    [[ ! -e "$WORLD/controller-is-dead" ]]
}

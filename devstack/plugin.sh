# shellcheck shell=bash
# Foreshape's DevStack plugin: one agent beside each nova-compute, one controller beside Keystone.
# DevStack sources it as `plugin.sh MODE [PHASE]`, after settings, with errexit on. Functions without foreshape in their name are DevStack's.

_XTRACE_FORESHAPE=$(set +o | grep xtrace)
set +o xtrace

# -- install

# An environment of its own: DevStack's upper-constraints pin what Foreshape shares with OpenStack to OpenStack's versions, and
# setup_develop takes the name of a project from every line of pyproject.toml that begins with "name =".
function install_foreshape {
    if [[ "$OFFLINE" == "True" && -x "$FORESHAPE_BIN_DIR/foreshape-agent" ]]; then
        return 0
    fi
    if ! "$FORESHAPE_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        die $LINENO "Foreshape needs Python 3.11 or newer, and $FORESHAPE_PYTHON is older: set FORESHAPE_PYTHON in local.conf"
    fi
    sudo install -d -o "$STACK_USER" "$FORESHAPE_DATA_DIR"
    "$FORESHAPE_PYTHON" -m venv "$FORESHAPE_DATA_DIR/venv"
    "$FORESHAPE_BIN_DIR/pip" install -c "$FORESHAPE_DIR/constraints.txt" -e "${FORESHAPE_DIR}[agent,controller,openstack]"
}

# The weigher runs inside nova-scheduler, so it is installed where Nova is, by DevStack's own pip and constraints.
function install_foreshape_weigher {
    pip_install -e "$FORESHAPE_DIR"
}

function is_foreshape_weigher_wanted {
    [[ "$FORESHAPE_WEIGHER" == "True" ]] && is_service_enabled n-sch && is_service_enabled foreshape-controller
}

# -- configure

function configure_foreshape_controller {
    local conf=$FORESHAPE_CONTROLLER_CONF state=$FORESHAPE_DATA_DIR/controller
    sudo install -d -o "$STACK_USER" "$FORESHAPE_CONF_DIR"
    install -d -m 0700 "$state"
    install -m 0640 "$FORESHAPE_DIR/etc/foreshape/controller.conf" "$conf"
    install -m 0644 "$FORESHAPE_DIR/etc/foreshape/tiers.yaml" "$FORESHAPE_DIR/etc/foreshape/segments.yaml" "$FORESHAPE_CONF_DIR"

    iniset "$conf" store url "sqlite:///$state/controller.db"
    iniset "$conf" plan tiers_file "$FORESHAPE_CONF_DIR/tiers.yaml"
    iniset "$conf" plan segments_file "$FORESHAPE_CONF_DIR/segments.yaml"
    iniset "$conf" plan default_mode "$FORESHAPE_MODE"
    iniset "$conf" learn models_dir "$state/models"
    iniset "$conf" api admin_token_file "$FORESHAPE_ADMIN_TOKEN_FILE"
    iniset "$conf" sell headroom_token_file "$FORESHAPE_HEADROOM_TOKEN_FILE"
    iniset "$conf" api tls off
    if is_service_enabled tls-proxy; then
        iniset "$conf" api bind 127.0.0.1
        iniset "$conf" api port "$FORESHAPE_PORT_INT"
    else
        # plain HTTP, as all of DevStack without tls-proxy
        iniset "$conf" api bind "$(ipv6_unquote "$SERVICE_LISTEN_ADDRESS")"
        iniset "$conf" api port "$FORESHAPE_PORT"
        iniset "$conf" api insecure True
    fi
    if [[ -n "$FORESHAPE_ADMIN_TOKEN" ]]; then
        (umask 077 && printf '%s\n' "$FORESHAPE_ADMIN_TOKEN" >"$FORESHAPE_ADMIN_TOKEN_FILE")
    fi
    iniset "$conf" cloud enabled True
    iniset "$conf" cloud name foreshape
    iniset "$conf" cloud region "$REGION_NAME"
    write_foreshape_clouds_yaml
    write_foreshape_command
}

# Credentials of the controller, in a file of its own that only it can read.
function write_foreshape_clouds_yaml {
    (umask 077 && cat >"$FORESHAPE_CLOUDS_YAML") <<EOF
clouds:
  foreshape:
    region_name: '$REGION_NAME'
    auth:
      auth_url: '$KEYSTONE_SERVICE_URI'
      username: foreshape
      password: '${SERVICE_PASSWORD//\'/\'\'}'
      project_name: '$SERVICE_PROJECT_NAME'
      user_domain_name: '$SERVICE_DOMAIN_NAME'
      project_domain_name: '$SERVICE_DOMAIN_NAME'
EOF
    if [[ -f "$SSL_BUNDLE_FILE" ]]; then
        echo "    cacert: '$SSL_BUNDLE_FILE'" >>"$FORESHAPE_CLOUDS_YAML"
    fi
}

# `foreshape` for the operator of this node: it knows where the controller is, whom to trust, and where its token lies.
function write_foreshape_command {
    local trust=""
    if is_service_enabled tls-proxy; then
        trust=$SSL_BUNDLE_FILE
    fi
    sudo install -m 0755 /dev/stdin "$FORESHAPE_COMMAND" <<EOF
#!/bin/sh
export FORESHAPE_URL="\${FORESHAPE_URL:-$FORESHAPE_URL}"
export FORESHAPE_TOKEN_FILE="\${FORESHAPE_TOKEN_FILE:-$FORESHAPE_ADMIN_TOKEN_FILE}"
export FORESHAPE_CA_FILE="\${FORESHAPE_CA_FILE:-$trust}"
exec "$FORESHAPE_BIN_DIR/foreshape" "\$@"
EOF
}

function configure_foreshape_agent {
    local conf=$FORESHAPE_AGENT_CONF
    sudo install -d -o "$STACK_USER" "$FORESHAPE_CONF_DIR"
    install -d -m 0700 "$FORESHAPE_DATA_DIR/agent"
    install -m 0640 "$FORESHAPE_DIR/etc/foreshape/agent.conf" "$conf"

    iniset "$conf" agent host "$FORESHAPE_AGENT_HOST"
    iniset "$conf" agent state_dir "$FORESHAPE_DATA_DIR/agent"
    iniset "$conf" agent on_stop restore
    iniset "$conf" controller controller_url "$FORESHAPE_URL"
    if is_service_enabled tls-proxy; then
        iniset "$conf" controller ca_file "$SSL_BUNDLE_FILE"
    else
        iniset "$conf" controller insecure True
    fi
}

function configure_foreshape_weigher {
    iniset "$NOVA_CONF" filter_scheduler weight_classes \
        "nova.scheduler.weights.all_weighers,foreshape_weigher.weigher.HeadroomWeigher"
    iniset "$NOVA_CONF" foreshape headroom_url "$FORESHAPE_URL/v1/headroom"
    iniset "$NOVA_CONF" foreshape headroom_token_file "$FORESHAPE_HEADROOM_TOKEN_FILE"
    if is_service_enabled tls-proxy; then
        iniset "$NOVA_CONF" foreshape headroom_ca_file "$SSL_BUNDLE_FILE"
    fi
}

# Rights of role foreshape where an API runs: files of their own in policy.d, which every service reads beside its policy.yaml.
function configure_foreshape_policies {
    if is_service_enabled n-api; then
        add_foreshape_policies nova "$NOVA_CONF_DIR"
    fi
    if is_service_enabled placement-api; then
        add_foreshape_policies placement "$PLACEMENT_CONF_DIR"
    fi
    if is_service_enabled key keystone; then
        add_foreshape_policies keystone "$KEYSTONE_CONF_DIR"
    fi
}

# add_foreshape_policies SERVICE ITS_CONF_DIR
function add_foreshape_policies {
    local kind from
    remove_foreshape_policies "$2"
    for kind in read act; do
        from=$FORESHAPE_DIR/etc/policy.d/$1-$kind.yaml
        if [[ -f "$from" && ( "$kind" == "read" || "$FORESHAPE_MAY_ACT" == "True" ) ]]; then
            sudo install -D -m 0644 "$from" "$2/policy.d/foreshape-$kind.yaml"
        fi
    done
}

# remove_foreshape_policies CONF_DIR
function remove_foreshape_policies {
    sudo rm -f "$1/policy.d/foreshape-read.yaml" "$1/policy.d/foreshape-act.yaml"
    if [[ -d "$1/policy.d" ]]; then
        sudo rmdir --ignore-fail-on-non-empty "$1/policy.d"
    fi
}

# No role but its own: what it may do stands in etc/policy.d and nowhere else.
function create_foreshape_accounts {
    get_or_create_role foreshape
    get_or_create_user foreshape "$SERVICE_PASSWORD" "$SERVICE_DOMAIN_NAME"
    get_or_add_user_project_role foreshape foreshape "$SERVICE_PROJECT_NAME" "$SERVICE_DOMAIN_NAME" "$SERVICE_DOMAIN_NAME"
    get_or_create_service foreshape foreshape "Foreshape: sizes of VMs by forecast"
    get_or_create_endpoint foreshape "$REGION_NAME" "$FORESHAPE_URL" "$FORESHAPE_URL" "$FORESHAPE_URL"
}

# -- run

function start_foreshape_controller {
    if [[ "$FORESHAPE_RECREATE_DB" == "True" ]]; then
        rm -f "$FORESHAPE_DATA_DIR"/controller/controller.db*
    fi
    run_process foreshape-controller "$FORESHAPE_BIN_DIR/foreshape-controller --config-file $FORESHAPE_CONTROLLER_CONF" \
        "" "" "OS_CLIENT_CONFIG_FILE=$FORESHAPE_CLOUDS_YAML"
    if is_service_enabled tls-proxy; then
        start_tls_proxy foreshape '*' "$FORESHAPE_PORT" 127.0.0.1 "$FORESHAPE_PORT_INT"
    fi
    if ! wait_for_service "$SERVICE_TIMEOUT" "$FORESHAPE_URL/readyz"; then
        die $LINENO "foreshape-controller did not start; see: journalctl -u devstack@foreshape-controller"
    fi
}

# As STACK_USER, with libvirt's group, like nova-compute.
function start_foreshape_agent {
    enroll_foreshape_agent
    run_process foreshape-agent "$FORESHAPE_BIN_DIR/foreshape-agent --config-file $FORESHAPE_AGENT_CONF" "$LIBVIRT_GROUP"
}

# Asks the controller as its operator. Empty on a node that has no operators' token.
function ask_foreshape {
    local trust=()
    if is_service_enabled tls-proxy; then
        trust=(--ca-file "$SSL_BUNDLE_FILE")
    fi
    if is_service_enabled foreshape-controller; then
        "$FORESHAPE_COMMAND" "$@"
    elif [[ -n "$FORESHAPE_ADMIN_TOKEN" ]]; then
        "$FORESHAPE_BIN_DIR/foreshape" --url "$FORESHAPE_URL" --token-file <(printf '%s' "$FORESHAPE_ADMIN_TOKEN") "${trust[@]}" "$@"
    fi
}

# A token of this host's own, by a join token: the one from local.conf, or one that the controller is asked for.
function enroll_foreshape_agent {
    local join=$FORESHAPE_JOIN_TOKEN
    if [[ -n "$join" && -f "$FORESHAPE_DATA_DIR/agent/token" ]]; then
        return 0 # it is good only once, and was used
    fi
    if [[ -z "$join" ]]; then
        join=$(ask_foreshape agent enroll "$FORESHAPE_AGENT_HOST" -f value -c join_token)
    fi
    if [[ -z "$join" ]]; then
        die $LINENO "this node's agent has no token: set FORESHAPE_ADMIN_TOKEN in local.conf of both nodes," \
            "or FORESHAPE_JOIN_TOKEN to what 'foreshape agent enroll $FORESHAPE_AGENT_HOST' prints on the first"
    fi
    "$FORESHAPE_BIN_DIR/foreshape-agent" --config-file "$FORESHAPE_AGENT_CONF" --enrol - <<<"$join"
}

# The whole way works: measured by the agent, taken by the controller.
function check_foreshape_agent {
    local until=$((SECONDS + SERVICE_TIMEOUT)) fresh
    if ! is_service_enabled foreshape-controller && [[ -z "$FORESHAPE_ADMIN_TOKEN" ]]; then
        return 0
    fi
    while true; do
        fresh=$(ask_foreshape host show "$FORESHAPE_AGENT_HOST" -f value -c fresh || true)
        if [[ "$fresh" == "True" ]]; then
            return 0
        fi
        if ((SECONDS >= until)); then
            die $LINENO "the agent of $FORESHAPE_AGENT_HOST does not report; see: journalctl -u devstack@foreshape-agent"
        fi
        sleep 2
    done
}

# The agent gives VMs their entitlement back ([agent] on_stop) while libvirt still runs.
function stop_foreshape {
    stop_process foreshape-agent
    stop_process foreshape-controller
}

# Everything that the phases above made, whichever services are enabled now. Keystone's rows go with DevStack's database.
function cleanup_foreshape {
    local dir
    for dir in "$NOVA_CONF_DIR" "$PLACEMENT_CONF_DIR" "$KEYSTONE_CONF_DIR"; do
        remove_foreshape_policies "$dir"
    done
    sudo rm -rf "${FORESHAPE_CONF_DIR:?}" "${FORESHAPE_DATA_DIR:?}"
    sudo rm -f "$FORESHAPE_COMMAND" "$(apache_site_config_for foreshape-tls-proxy)"
}

# -- the phases

function foreshape_phase {
    case "$1 ${2:-}" in
        "stack install")
            if is_service_enabled foreshape-controller foreshape-agent; then
                echo_summary "Installing Foreshape"
                install_foreshape
            fi
            if is_foreshape_weigher_wanted; then
                install_foreshape_weigher
            fi
            ;;
        "stack post-config")
            echo_summary "Configuring Foreshape"
            configure_foreshape_policies
            if is_service_enabled foreshape-controller; then
                configure_foreshape_controller
                create_foreshape_accounts
            fi
            if is_service_enabled foreshape-agent; then
                configure_foreshape_agent
            fi
            if is_foreshape_weigher_wanted; then
                configure_foreshape_weigher
            fi
            ;;
        "stack extra")
            if is_service_enabled foreshape-controller; then
                start_foreshape_controller
            fi
            if is_service_enabled foreshape-agent; then
                start_foreshape_agent
            fi
            ;;
        "stack test-config")
            if is_service_enabled foreshape-agent; then
                check_foreshape_agent
            fi
            ;;
        "unstack "*)
            stop_foreshape
            ;;
        "clean "*)
            cleanup_foreshape
            ;;
    esac
}

foreshape_phase "$@"

$_XTRACE_FORESHAPE

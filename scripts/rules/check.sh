# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - the doctor: one line per finding, and what to do about it

finding() {
	level=$1 what=$2 advice=${3:-}
	printf '%-5s %s%s\n' "$level" "$what" "${advice:+  -> $advice}"
	[ "$level" != fail ] || echo fail >"$work/failed"
}

command_check() {
	need_root
	make_work
	policy_read 2>"$work/config.error" || {
		finding fail "configuration $config: $(head -n 1 "$work/config.error")" "nfq-balancer -n -c $config lists every error"
		exit 1
	}
	finding ok "configuration $config"
	check_configuration
	! active_elsewhere || use_run_directory "$where"
	check_backend
	check_kernel
	check_forwarding
	check_filters
	check_links
	check_marks
	check_queues
	check_preferences
	check_active
	[ ! -e "$work/failed" ]
}

# What is odd there, but allowed: it comes when the configuration is printed for people
check_configuration() {
	"$binary" -c "$config" -n 2>&1 >/dev/null | sed -n 's/^warning: //p' >"$work/warnings"
	while read -r warning; do
		finding warn "$warning" "nfq-balancer.conf(5)"
	done <"$work/warnings"
}

check_backend() {
	works=
	for backend in nft nft+iptables iptables-nft iptables-legacy; do
		! backend_works $backend || works="$works $backend"
	done
	if [ -z "$works" ]; then
		finding fail "no backend works in this kernel" \
			"it needs nf_tables or ip_tables with NFQUEUE (modules nfnetlink_queue, nft_queue or xt_NFQUEUE), numgen or statistic, and nft or iptables installed"
	elif [ -n "$forced" ]; then
		case " $works " in
		*" $forced "*) finding ok "backend $forced works (asked for)" ;;
		*) finding fail "backend $forced was asked for and does not work" "these do:$works" ;;
		esac
	else
		finding ok "backends that work:$works (the first is used)"
	fi
	backend=${works#?}
	backend=${forced:-${backend%% *}}
}

kernel_config() {
	for file in "/boot/config-$(uname -r)" /proc/config.gz; do
		[ -r "$file" ] || continue
		case $file in
		*.gz) zcat "$file" ;;
		*) cat "$file" ;;
		esac
		return
	done
	return 1
}

check_kernel() {
	if ! kernel_config >"$work/kernel" 2>/dev/null; then
		finding ok "kernel: configuration not readable; the daemon's log says how decisions are committed"
	elif grep -q '^CONFIG_NETFILTER_NETLINK_GLUE_CT=y' "$work/kernel"; then
		finding ok "kernel: verdicts carry the conntrack mark"
	else
		finding ok "kernel: verdicts cannot carry the conntrack mark; the commit chain writes it"
	fi
	for helper in $helpers; do
		if helper_works "$helper"; then
			finding ok "helper $helper"
		else
			finding fail "helper $helper: the kernel has none" "load or build nf_conntrack_$helper, or take it out of helpers"
		fi
	done
	max=$(sysctl_read net/netfilter/nf_conntrack_max)
	count=$(sysctl_read net/netfilter/nf_conntrack_count)
	if [ -z "$max" ]; then
		finding warn "conntrack is not loaded yet" "start loads it"
	elif [ "$((count * 10))" -ge "$((max * 8))" ]; then
		finding warn "conntrack table: $count of $max entries" "raise net.netfilter.nf_conntrack_max; a full table drops new connections"
	elif [ "$max" -lt 16384 ]; then
		finding warn "conntrack table holds only $max entries" "raise net.netfilter.nf_conntrack_max"
	else
		finding ok "conntrack table: $count of $max entries"
	fi
}

check_forwarding() {
	for family in 4 6; do
		eval "[ \"\$have$family\" = 1 ]" || continue
		switch=net/ipv4/ip_forward
		[ $family = 4 ] || switch=net/ipv6/conf/all/forwarding
		if [ "$(sysctl_read $switch)" = 1 ]; then
			finding ok "IPv$family forwarding is on"
		elif [ "$ip_forward" = set ]; then
			if state_active; then
				finding fail "IPv$family forwarding was turned off by somebody" "nfq-balancer-rules restart, and find out who"
			else
				finding ok "IPv$family forwarding is off; start turns it on"
			fi
		else
			finding fail "IPv$family forwarding is off, and ip-forward = \"keep\"" "sysctl -w $(echo $switch | tr / .)=1"
		fi
	done
	forward_drops | sort -u >"$work/drops"
	if [ -s "$work/drops" ]; then
		while read -r where; do
			finding warn "$where drops what no rule accepts" "see that it accepts traffic between the LAN and every link"
		done <"$work/drops"
	else
		finding ok "no FORWARD chain with policy drop"
	fi
}

forward_drops() {
	nft list ruleset 2>/dev/null | awk '
		$1 == "table" { table = $2 " " $3 }
		$1 == "chain" { chain = $2 }
		/hook forward/ && /policy drop/ { print "chain " chain " of table " table }'
	for program in iptables ip6tables; do
		names=/proc/net/ip_tables_names
		[ $program = iptables ] || names=/proc/net/ip6_tables_names
		grep -qx filter $names 2>/dev/null && $program-legacy -S FORWARD 2>/dev/null |
			sed -n "s/^-P FORWARD DROP/$program-legacy FORWARD/p"
	done
}

check_filters() {
	all=$(sysctl_read net/ipv4/conf/all/rp_filter)
	for interface in $interfaces; do
		strict=$(sysctl_read "net/ipv4/conf/$interface/rp_filter") || continue
		[ "$all" -le "$strict" ] || strict=$all
		if [ "$strict" != 1 ]; then
			finding ok "$interface: reverse path filter is not strict"
		elif state_active; then
			finding fail "$interface: reverse path filter is strict: answers over this link are dropped" "nfq-balancer-rules restart"
		else
			finding ok "$interface: reverse path filter is strict; start makes it loose"
		fi
	done
}

check_links() {
	for id in $links; do
		link_use "$id"
		if ! interface_exists "$l_if"; then
			finding warn "link $l_name: interface $l_if does not exist" "nothing, if it comes later (PPP)"
			continue
		fi
		if ! interface_ready "$l_if"; then
			finding warn "link $l_name: interface $l_if is down" "ip link set $l_if up, or see to its cable"
			continue
		fi
		case $interface_group in
		0 | "$LINK_GROUP") ;;
		*) finding warn "link $l_name: interface $l_if is in interface group $interface_group" "ip link set $l_if group 0, or main's more specific routes through it win over settled flows" ;;
		esac
		for family in 4 6; do
			carries "$id" $family && check_gateway $family
		done
		check_table "$l_table"
	done
	for interface in $lan; do
		case $interface in *+) continue ;; esac # they come and go
		interface_exists "$interface" || finding warn "LAN interface $interface does not exist" "correct lan, or create it"
	done
}

check_gateway() {
	words=$(gateway_words "$1" 2>/dev/null) || {
		finding fail "link $l_name: gateway auto, and main has no IPv$1 default route of $l_if" "ask for one (DHCP, PPP, RA), or state the gateway's address"
		return
	}
	[ -n "$words" ] || {
		finding ok "link $l_name: IPv$1 point to point"
		return
	}
	address=${words#via }
	address=${address%% *}
	if neighbour_answers "$1" "$address"; then
		finding ok "link $l_name: gateway $address answers"
	else
		finding fail "link $l_name: gateway $address does not answer on $l_if" "correct the gateway, or see to the modem and the provider"
	fi
}

# Does the gateway of the current link answer ARP or neighbour discovery within a
# second? ("use" makes the kernel ask.) Interfaces without link layer addresses: yes.
neighbour_answers() {
	ip "-$1" neigh replace "$2" dev "$l_if" use 2>/dev/null
	for pause in 0 0.1 0.2 0.3 0.4; do
		sleep $pause
		case $(ip "-$1" neigh show "$2" dev "$l_if" 2>/dev/null) in
		*FAILED* | *INCOMPLETE*) ;;
		*lladdr* | *NOARP*) return 0 ;;
		esac
	done
	return 1
}

check_table() {
	for family in 4 6; do
		others=$(ip -N "-$family" route show table "$1" 2>/dev/null | grep -cv " proto $PROTOCOL\( \|$\)")
		[ "$others" -gt 0 ] || continue
		default=$(foreign_default $family "$1")
		if [ -n "$default" ]; then
			finding fail "table $1 has a default route of somebody else: $default" "delete it, or give link $l_name another table"
		else
			finding warn "table $1 has $others IPv$family routes of somebody else" "see that they belong there, or give link $l_name another table"
		fi
	done
}

# Rules of others that write bits which are ours. Masked writes elsewhere are fine.
check_marks() {
	{ iptables_mark_writes; nft_mark_writes; } | while read -r bits rule; do
		# shellcheck disable=SC2004 # bits may be "~0xff"
		[ $(($bits & mask)) -eq 0 ] || echo "$rule"
	done | sort -u >"$work/marks"
	if [ -s "$work/marks" ]; then
		while read -r rule; do
			finding warn "this rule overwrites bits of mask $(short_hex "$mask"): $rule" "give it a mask without these bits (--set-xmark VALUE/MASK), or choose another mask here"
		done <"$work/marks"
	else
		finding ok "no rule of others writes into mask $(short_hex "$mask")"
	fi
}

# "BITS RULE" for each MARK or CONNMARK rule of others: BITS are those it changes
iptables_mark_writes() {
	for tool in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
		command -v $tool >/dev/null || continue
		iptables_all $tool | awk -v tool="$tool" '
			/^-A / && !/^-A nfqb_/ && / (CONN)?MARK / {
				bits = ""
				for (i = 1; i < NF; i++) {
					if ($i == "--set-xmark") { split($(i + 1), part, "/"); bits = part[2] }
					if ($i == "--restore-mark" || $i == "--save-mark") { kind = $i; bits = "0xffffffff" }
					if ($i == "--nfmask" && kind == "--restore-mark") bits = $(i + 1)
					if ($i == "--ctmask" && kind == "--save-mark") bits = $(i + 1)
				}
				if (bits != "") print bits, tool ": " $0
			}'
	done
}

iptables_all() {
	case $1 in
	ip6*legacy) grep -q . /proc/net/ip6_tables_names 2>/dev/null || return 0 ;;
	*legacy) grep -q . /proc/net/ip_tables_names 2>/dev/null || return 0 ;;
	*) nft list tables 2>/dev/null | grep -q '^table ip6\{0,1\} \(mangle\|nat\|filter\|raw\)$' || return 0 ;;
	esac
	"$(iptables_tool "$1" save)" 2>/dev/null
}

nft_mark_writes() {
	nft -s list ruleset 2>/dev/null | awk '
		$1 == "table" {
			name = $2 " " $3
			skip = $3 == "nfq_balancer" || name ~ /^ip6? (filter|nat|mangle|raw|security)$/
		}
		!skip && /(meta|ct) mark set / {
			bits = "0xffffffff"
			if (match($0, /mark set (meta |ct )?mark (and|&) 0x[0-9a-f]+/)) {
				n = split(substr($0, RSTART, RLENGTH), word, " ")
				bits = "~" word[n]
			} else if (match($0, /mark set (meta |ct )?mark (or|\|) 0x[0-9a-f]+/)) {
				n = split(substr($0, RSTART, RLENGTH), word, " ")
				bits = word[n]
			}
			sub(/^[ \t]+/, "")
			print bits, "nft table " name ": " $0
		}'
}

check_queues() {
	for tool in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
		command -v $tool >/dev/null && iptables_all $tool | grep -v '^-A nfqb_' |
			sed -n "s/.* -j NFQUEUE --queue-num \([0-9]*\).*/\1 \1 $tool/p; s/.* -j NFQUEUE --queue-balance \([0-9]*\):\([0-9]*\).*/\1 \2 $tool/p
				s/.* -j NFQUEUE\$/0 0 $tool/p"
	done | sort -u | while read -r first last tool; do
		[ "$first" -gt "$queue_last" ] || [ "$last" -lt "$queue_first" ] || echo "$tool"
	done >"$work/queues"
	if [ -s "$work/queues" ]; then
		finding fail "another rule ($(head -n 1 "$work/queues")) sends packets to queues $queue_first to $queue_last, which are ours" "choose another number for queue"
	else
		finding ok "queues $queue_first to $queue_last are used by no other iptables rule"
	fi
}

check_preferences() {
	for family in 4 6; do
		ip -N "-$family" rule show | awk -v first="$preference" '
			{ number = $1; sub(/:/, "", number) }
			number >= first && number <= first + 4 && !/ proto 157( |$)/'
	done | sort -u >"$work/taken"
	if [ -s "$work/taken" ]; then
		while read -r rule; do
			finding warn "ip rule of somebody else among ours: $rule" "move it, or set another rule-preference"
		done <"$work/taken"
	else
		finding ok "ip rule preferences $preference to $((preference + 4)) are free or ours"
	fi
}

check_active() {
	if ! state_active; then
		finding warn "the rules are not active" "nfq-balancer-rules start"
		return
	fi
	backend=$(state_value backend)
	if rules_intact; then
		finding ok "rules in the kernel are as made (backend $backend)"
	else
		finding fail "rules in the kernel are not as made: $broken" "nfq-balancer-rules restart, and find out who changed them"
	fi
	if policy_current; then
		finding ok "rules match the configuration"
	else
		finding warn "the configuration's links, queues or mask changed since the rules were made" "nfq-balancer-rules restart (and restart the daemon)"
	fi
	case $(queues_bound) in
	"$((queue_last - queue_first + 1))") finding ok "the daemon is running: queues $queue_first to $queue_last are bound" ;;
	0) finding warn "the daemon is not running: the fallback decides" "systemctl start nfq-balancer" ;;
	*) finding fail "only $(queues_bound) of the queues $queue_first to $queue_last are bound" "restart the daemon; its log says why" ;;
	esac
	[ -z "$(confirm_pid)" ] || finding warn "this start is not confirmed yet and will be undone" "nfq-balancer-rules confirm"
}

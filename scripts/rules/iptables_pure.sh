# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# iptables_pure.sh - the whole ruleset without nftables
#
# The same steps as in nft.sh, in other places: the next base chain after mangle
# PREROUTING is nat PREROUTING, which sees exactly the first packet of each
# connection; there the decision is saved or the fallback takes over. NFQUEUE ends
# a packet's way through mangle, so our jump stands last in PREROUTING and OUTPUT.
#
# The router's own packets are routed again after mangle OUTPUT and never after
# nat OUTPUT. So the fallback's pick is made before NFQUEUE, in the `settled` form
# that no verdict uses; the verdict overwrites it, and nat OUTPUT can tell the two.

pure_jumps() {
	emit mangle PREROUTING nfqb_steer last
	emit mangle INPUT nfqb_proxied first
	emit mangle FORWARD nfqb_settle first
	emit mangle OUTPUT nfqb_own last
	emit mangle POSTROUTING nfqb_guard first
	# ahead of DNAT and REDIRECT, which end a packet's way through the table
	emit nat PREROUTING nfqb_commit first
	emit filter FORWARD nfqb_reject first
	emit filter OUTPUT nfqb_reject first
	emit nat OUTPUT nfqb_own_commit first
	emit nat POSTROUTING nfqb_nat last
	emit raw OUTPUT nfqb_tunnel last
	[ -z "$helpers" ] || {
		emit raw PREROUTING nfqb_helper last
		emit raw OUTPUT nfqb_helper last
	}
}

# Rules go to $work/chains in any order; chain headers are made from them
add() { emit "-A nfqb_$*"; }

set_mark() { echo "MARK --set-xmark $1/$mask"; }
set_ct() { echo "CONNMARK --set-xmark $1/$mask"; }
has_mark() { echo "-m mark --mark $1/$mask"; }
has_ct() { echo "-m connmark --mark $1/$mask"; }

pure_known() {
	add known "-j CONNMARK --restore-mark --nfmask $mask --ctmask $mask"
}

# Why TCP without SYN is queued too: see nft_exceptions()
pure_exceptions() {
	add "$1" "-m conntrack ! --ctstate NEW -j RETURN"
	add "$1" "-m conntrack --ctstatus CONFIRMED -j RETURN"
	add "$1" "-m mark ! --mark 0/$mask -j RETURN"
	if [ "$family" = 4 ]; then
		add "$1" "-m addrtype --dst-type LOCAL,BROADCAST,ANYCAST,MULTICAST -j RETURN"
		return
	fi
	add "$1" "-m addrtype --dst-type LOCAL,ANYCAST -j RETURN"
	for net in ff00::/8 fe80::/10; do add "$1" "-d $net -j RETURN"; done
	for net in fe80::/10 ::/128; do add "$1" "-s $net -j RETURN"; done
}

pure_from_lan() {
	pure_exceptions lan
	# frames that br_netfilter shows on their way from port to port
	for interface in $lan; do
		is_link "$interface" || ! is_bridge "$interface" ||
			for subnet in $(ip "-$family" route show dev "$interface" proto kernel | awk '$1 ~ /\// { print $1 }'); do
				add lan "-i $interface -d $subnet -j RETURN"
			done
	done
	add lan "-j $(set_mark "$waiting")"
	[ "$source_limit" -eq 0 ] ||
		add lan "-m hashlimit --hashlimit-above $source_limit/sec --hashlimit-burst $source_limit --hashlimit-mode srcip --hashlimit-name nfqb_$family -j RETURN"
	add lan "-j $(queue_target)"
}

pure_steer() {
	number=0
	for interface in $interfaces; do
		number=$((number + 1))
		if is_lan "$interface"; then
			add steer "-i $interface -g nfqb_both_$number"
			add "both_$number" "-m addrtype --dst-type LOCAL -g nfqb_link_$number"
			add "both_$number" "-m conntrack --ctdir REPLY -j RETURN"
			add "both_$number" "-m connmark ! --mark 0/$mask -g nfqb_known"
			add "both_$number" "-g nfqb_lan"
		else
			add steer "-i $interface -g nfqb_link_$number"
		fi
		add "link_$number" "-m conntrack ! --ctstate NEW -j RETURN"
		for id in $(links_of "$interface" "$family"); do
			link_use "$id"
			destination=
			if is_shared "$interface"; then
				case $family$l_address in
				4*.* | 6*:*) destination="-d $l_address " ;;
				*) continue ;;
				esac
			fi
			add "link_$number" "$destination-m connmark --mark 0/$mask -j $(set_ct "$l_settled")"
		done
	done
	# from whatever other interface: a settled flow keeps its link
	add steer "-m connmark ! --mark 0/$mask -g nfqb_known"
	for interface in $lan; do
		is_link "$interface" || add steer "-i $interface -g nfqb_lan"
	done
}

# pure_pick CHAIN TAKE LINKS...: one of the links, by weight, each packet the same way
pure_pick() {
	chain=$1 take=$2
	shift 2
	weights_of "$@"
	if [ "$total" -eq 0 ]; then
		add "$chain" "-g nfqb_${take}_main"
	elif [ "$total" -le 32 ]; then
		left=$total
		for id in $(interleave); do
			add "$chain" "-m statistic --mode nth --every $left --packet 0 -g nfqb_${take}_$id"
			left=$((left - 1))
		done
	else
		left=$total
		for pair in $weights; do
			share=$(awk -v a="${pair#*:}" -v b="$left" 'BEGIN { printf "%.10f", a / b }')
			case $share in
			1.*) add "$chain" "-g nfqb_${take}_${pair%:*}" ;;
			*) add "$chain" "-m statistic --mode random --probability $share -g nfqb_${take}_${pair%:*}" ;;
			esac
			left=$((left - ${pair#*:}))
		done
	fi
}

# The fallback for one place: chain names differ, since each table has its own
pure_fallback() {
	if [ "$family" = 4 ]; then
		# shellcheck disable=SC2046
		pure_pick "$1" "$2" $(carriers 4)
		return
	fi
	fallback6_plan
	count=0
	for prefix in $prefixes6; do
		count=$((count + 1))
		add "$1" "-s $prefix -g nfqb_$1_$count"
		eval "pure_pick \$1_\$count \$2 \$prefix6_links_$count"
	done
	# shellcheck disable=SC2086
	pure_pick "$1" "$2" $anywhere6
}

pure_commit() {
	for id in $(carriers "$family"); do
		link_use "$id"
		add commit "$(has_mark "$l_mark") -g nfqb_decided_$id"
		add "decided_$id" "$(has_ct "$l_settled") -j RETURN"
		add "decided_$id" "-m connmark ! --mark 0/$mask -g nfqb_known"
		add "decided_$id" "-j $(set_ct "$l_settled")"
		add "take_$id" "-j $(set_mark "$l_mark")"
		add "take_$id" "-j $(set_ct "$l_settled")"
	done
	add commit "$(has_mark "$main") -g nfqb_main"
	add main "-m connmark ! --mark 0/$mask -g nfqb_known"
	add main "-j $(set_ct "$main")"
	add take_main "-j $(set_mark "$main")"
	add take_main "-j $(set_ct "$main")"
	[ "$fallback" = yes ] || return 0
	add commit "$(has_mark "$waiting") -g nfqb_waiting"
	add waiting "-m connmark ! --mark 0/$mask -g nfqb_known"
	add waiting "-g nfqb_fallback"
	pure_fallback fallback take
}

pure_own_commit() {
	for id in $(carriers "$family"); do
		link_use "$id"
		add own_commit "$(has_mark "$l_mark") -g nfqb_decided_$id"
		add own_commit "$(has_mark "$l_settled") -g nfqb_picked_$id"
		add "picked_$id" "-m connmark ! --mark 0/$mask -j RETURN"
		add "picked_$id" "-j $(set_ct "$l_settled")"
	done
	add own_commit "$(has_mark "$main") -g nfqb_main"
}

pure_own() {
	add own "$(has_ct "$main") -j RETURN"
	add own "-m connmark ! --mark 0/$mask -g nfqb_known"
	[ "$local_traffic" = yes ] && default_link "$family" || return 0
	pure_exceptions own
	add own "-p udp -m multiport --dports 67,547 -j RETURN"
	for other in $default_others; do
		add own "-o $default_if -s $other -j RETURN"
	done
	add own "-o $default_if -m addrtype --src-type LOCAL --limit-iface-out -g nfqb_own_new"
	if [ "$fallback" = yes ]; then
		add own_new "-j nfqb_own_fallback"
		pure_fallback own_fallback own_take
		for id in $(carriers "$family"); do
			link_use "$id"
			add "own_take_$id" "-j $(set_mark "$l_settled")"
		done
		add own_take_main "-j $(set_mark "$main")"
	else
		add own_new "-j $(set_mark "$waiting")"
	fi
	add own_new "-j $(queue_target)"
}

# REJECT works in the filter table only, which a packet reaches after routing; so
# there is no prohibit rule with these backends (see plan_rules()), and the guard
# stops what gets past a firewall that was loaded anew.
pure_reject() {
	add reject "-m mark ! --mark $reject/$mask -j RETURN"
	add reject "-p tcp -j REJECT --reject-with tcp-reset"
	if [ "$family" = 4 ]; then
		add reject "-j REJECT --reject-with icmp-admin-prohibited"
	else
		add reject "-j REJECT --reject-with icmp6-adm-prohibited"
	fi
}

pure_settle() {
	[ "$fallback" = yes ] || add settle "$(has_mark "$waiting") -j DROP"
	for id in $(carriers "$family"); do
		link_use "$id"
		add settle "$(has_mark "$l_mark") -g nfqb_stays_$id"
		add guard "$(has_mark "$l_mark") -j nfqb_stays_$id"
		add proxied "$(has_mark "$l_mark") -j $(set_ct "$main")"
		add "stays_$id" "-o $l_if -j RETURN"
		add "stays_$id" "-j $(set_ct "$main")"
		for other in $(carriers "$family"); do
			eval "other_if=\$L${other}_if other_settled=\$L${other}_settled"
			[ "$other_if" = "$l_if" ] || is_shared "$other_if" ||
				add "stays_$id" "-o $other_if -j $(set_ct "$other_settled")"
		done
	done
}

pure_guard() {
	number=0
	add guard "$(has_mark "$reject") -j DROP"
	[ "$local_traffic" != yes ] || pure_guard_own
	for interface in $interfaces; do
		number=$((number + 1))
		add guard "-o $interface -m connmark ! --mark 0/$mask -g nfqb_guard_$number"
		for id in $links; do
			link_use "$id"
			[ "$l_if" != "$interface" ] || add "guard_$number" "$(has_ct "$l_settled") -j RETURN"
		done
		add "guard_$number" "$(has_ct "$main") -j RETURN"
		add "guard_$number" "-j DROP"
	done
}

# Newer kernels do not route a packet again that left an nf_tables mangle OUTPUT
# for a queue where nobody listens: the flow stays with the link it leaves by
pure_guard_own() {
	for id in $(carriers "$family"); do
		link_use "$id"
		add guard "$(has_mark "$l_settled") -m conntrack --ctstate NEW -m addrtype --src-type LOCAL -j nfqb_stays_$id"
	done
}

pure_nat() {
	for id in $(carriers "$family"); do
		link_use "$id"
		which="-o $l_if"
		! is_shared "$l_if" || which="$which $(has_ct "$l_settled")"
		nat_of "$family"
		case $nat in
		none) ;;
		masquerade) add nat "$which -j MASQUERADE" ;;
		*) add nat "$which -j SNAT --to-source $nat" ;;
		esac
	done
	for interface in $shared; do
		for id in $(links_of "$interface" "$family"); do
			eval "nat=\$L${id}_nat$family"
			[ "$nat" = masquerade ] || continue
			add nat "-o $interface $(has_ct 0) -j MASQUERADE"
			add nat "-o $interface $(has_ct "$main") -j MASQUERADE"
			break
		done
	done
}

# A tunnel's outer packet keeps the mark of the inner one (see nft_own()). Conntrack
# and the router's own marks come later than raw; a socket may have asked for a mark.
pure_tunnel() {
	for protocol in 4 41 47; do
		add tunnel "-p $protocol -j $(set_mark 0)"
	done
	add tunnel "-m mark ! --mark 0/$mask -m owner ! --socket-exists -j $(set_mark 0)"
}

pure_helper() {
	for helper in $helpers; do
		for where in $(helper_ports "$helper"); do
			match="-p ${where%:*} --dport ${where#*:} -j CT --helper $helper"
			for interface in $lan $interfaces; do add helper "-i $interface $match"; done
			for interface in $interfaces; do add helper "-o $interface $match"; done
		done
	done
}

# One table: headers for every chain that the rules define or name, the rules, the jumps
pure_table() {
	emit "*$1"
	cat >"$work/chains"
	{
		awk '{ for (i = 1; i < NF; i++) if ($i ~ /^-[Agj]$/ && $(i + 1) ~ /^nfqb_/) print $(i + 1) }' "$work/chains"
		iptables_jumps | awk -v table="$1" '$1 == table { print $3 }'
	} | sort -u | sed 's/.*/:& - [0:0]/'
	cat "$work/chains"
	iptables_missing_jumps "$1"
	emit COMMIT
}

pure_text() {
	family=$1
	{ pure_tunnel; pure_helper; } | pure_table raw
	{ pure_known; pure_commit; pure_own_commit; pure_nat; } | pure_table nat
	pure_reject | pure_table filter
	{ pure_known; pure_from_lan; pure_steer; pure_own; pure_settle; pure_guard; } | pure_table mangle
}

# iptables-save -c of the nat table -> "decided ID N", "fallback ID N"
pure_counters() {
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		[ -z "$tool" ] || "$(iptables_tool "$tool" save)" -c -t nat 2>/dev/null
	done | awk '
		/ nfqb_(decided|take|picked)_[0-9]+ / {
			count = substr($1, 2) + 0; name = $3; id = name
			sub(/.*_/, "", id); kind = name ~ /decided/ ? "decided" : "fallback"
			ids[id]
			if (name ~ /decided/ && $0 !~ /-g nfqb_known/ || name ~ /take/ && / -j MARK / || name ~ /picked/ && / -j CONNMARK /)
				sum[kind, id] += count
		}
		END { for (id in ids) { print "decided", id, sum["decided", id] + 0; print "fallback", id, sum["fallback", id] + 0 } }' |
		sort -k 1,1 -k 2,2n
}

# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# nft.sh - the ruleset as one nftables table
#
# One text serves start and restart: it flushes what is there and fills it again
# in one transaction. Base chains are the same whatever the configuration says (but
# for `offload`), so that a restart neither deletes one (the kernel would flush every
# NFQUEUE of the network namespace) nor adds one in front of packets that wait in a queue.
#
#   prerouting -151  steer     settled flows get their mark; who is to be decided: mark `waiting`,
#                              to userspace (backend nft+iptables: in iptables' mangle, -150)
#   prerouting -149  overtaken (up to Linux 6.11) another packet of the flow was decided meanwhile
#   prerouting nat   commit    save the decision, or let the fallback decide
#   input            proxied   a flow that ended in the router takes no link
#   forward 100      settled_fast  established flows past all of this, if wanted (offload.sh)
#   output -152..-149          the same for the router's own packets
#   postrouting 99   guard     another route won: the flow belongs to that interface's link;
#                              never out of a link that is not the flow's
#   postrouting 100  nat
#
# What an established packet passes is two chains, in each of which a rule of a few
# comparisons ends its way: a hook costs it 20 ns, a comparison 8, one of names 21, a
# look-up 23 (of names 46), a jump 28. Chains of type nat see first packets only.
#
# Syntax: what nft 1.0.6 accepts. It cannot combine two marks in one statement,
# so a masked restore is a map to one chain per link.

TABLE='inet nfq_balancer'

quoted_list() {
	list=
	for word in "$@"; do list="$list${list:+, }\"$word\""; done
	echo "{ $list }"
}

# ct mark -> packet mark, for a settled flow. Where nobody else has set a bit of the
# packet mark (nearly always) nft_steer() has a shorter way.
nft_known() {
	# has the connection a mark that is not `waiting`? That is the top bit alone
	ids=$(hex32 $((mask & ~settled)))
	emit "	chain known {"
	printf '		ct mark & %s vmap { ' "$mask"
	for id in $links; do
		link_use "$id"
		printf '%s : goto restore_%s, ' "$l_settled" "$id"
	done
	emit "$main : goto restore_main }"
	emit "	}"
	for id in $links; do
		link_use "$id"
		emit "	chain restore_$id { meta mark set meta mark & $not_mask | $l_settled; }"
		emit "	chain settle_$id { ct mark set ct mark & $not_mask | $l_settled; }"
	done
	emit "	chain restore_main { meta mark set meta mark & $not_mask | $main; }"
	emit "	chain settle_main { ct mark set ct mark & $not_mask | $main; }"
}

# What NEW packets must not be: ours to decide only if routed to one host and of a
# family that some link carries. (Not "type unicast": IPv6 calls an address so only
# while main has a route to it, and main may well have no default.)
#
# Not told apart here: TCP with and without SYN. A TCP packet of an unknown flow
# without SYN is the middle of a connection that conntrack forgot (`conntrack -F`, a
# rebooted router). If it went by main, all of these would move to one link; queued,
# stickiness sends them where they were.
nft_exceptions() {
	[ "$have4" = 1 ] || emit "		meta nfproto ipv4 return"
	[ "$have6" = 1 ] || emit "		meta nfproto ipv6 return"
	emit "		fib daddr type { local, broadcast, anycast, multicast } return"
	[ "$have6" = 1 ] || return 0
	emit "		ip6 daddr fe80::/10 return"
	emit "		ip6 saddr { fe80::/10, :: } return"
}

# A source beyond its limit skips the queue: `waiting` in the conntrack mark (of
# an entry that no other packet can see yet) tells the queue rule so, and the
# commit chain hands it to the fallback like any other undecided packet.
nft_limit() {
	[ "$source_limit" -gt 0 ] || return 0
	[ "$have4" = 0 ] || emit "		update @sources4 { ip saddr limit rate over $source_limit/second burst $source_limit packets } jump excess"
	[ "$have6" = 0 ] || emit "		update @sources6 { ip6 saddr limit rate over $source_limit/second burst $source_limit packets } jump excess"
}

# The kernel builds only these events of a new connection: what feedback needs
nft_events() {
	[ "$feedback" != yes ] || emit "		${1:+$1 }ct event set new,destroy,reply,protoinfo"
}

# A frame that br_netfilter shows us on its way from port to port: its route leads back
# into the bridge it came from. None is addressed to the bridge itself, which saves the
# look-up; should the bridge take another address later, all are looked up.
nft_from_port() {
	own=$(cat "/sys/class/net/$1/address" 2>/dev/null) || own=
	emit "		iifname \"$1\" ${own:+ether daddr != $own }fib daddr oifname \"$1\" return"
}

nft_from_lan() {
	emit "	chain from_lan {"
	emit "		ct state != new return"
	nft_events
	[ -z "$helpers" ] || emit "		jump assign_helper"
	# confirmed: older than these rules, and beyond the commit chain's reach
	emit "		ct status & confirmed != 0 return"
	nft_exceptions
	for interface in $lan; do
		is_link "$interface" || ! is_bridge "$interface" || nft_from_port "$interface"
	done
	nft_limit
	emit "		meta mark set meta mark & $not_mask | $waiting"
	nft_queue
	emit "	}"
	emit "	chain excess { ct mark set ct mark & $not_mask | $waiting; }"
}

# One condition per link of an interface: which of them did this packet come by?
# Families that a link does not carry are not its business.
nft_arrivals() {
	for family in 4 6; do
		for id in $(links_of "$1" $family); do
			link_use "$id"
			here_by="meta nfproto ipv$family"
			if is_shared "$1"; then
				case $l_address in
				-) continue ;;
				*:*) [ $family = 6 ] || continue; here_by="ip6 daddr $l_address" ;;
				*) [ $family = 4 ] || continue; here_by="ip daddr $l_address" ;;
				esac
			fi
			emit "		$here_by ct mark & $mask == 0 goto settle_$id"
		done
	done
}

nft_from_link() {
	number=0
	for interface in $interfaces; do
		number=$((number + 1))
		emit "	chain from_link_$number {"
		emit "		ct state != new return"
		nft_events
		[ -z "$helpers" ] || emit "		jump assign_helper"
		nft_arrivals "$interface"
		emit "	}"
		is_lan "$interface" || continue
		# Link and LAN at once: what is for the router came by the link, answers
		# are on their way back, the rest are hosts that want to go out
		emit "	chain from_both_$number {"
		emit "		fib daddr type local goto from_link_$number"
		emit "		ct direction reply return"
		emit "		goto unsettled_lan"
		emit "	}"
	done
}

# Interface -> chain, for the links and these other interfaces
nft_interfaces() {
	printf '		iifname vmap { '
	separator=
	number=0
	for interface in $interfaces; do
		number=$((number + 1))
		is_lan "$interface" && side="both" || side="link"
		printf '%s"%s" : goto from_%s_%s' "$separator" "$interface" "$side" "$number"
		separator=', '
	done
	for interface in "$@"; do printf ', "%s" : goto from_lan' "$interface"; done
	emit " }"
}

# `lans` := interfaces that are LAN alone, and have a whole name
plain_lans() {
	lans=
	for interface in $lan; do
		case $interface in *+) continue ;; esac
		is_link "$interface" || lans="$lans $interface"
	done
	lans=${lans# }
}

# First what nearly every packet is. The links' interfaces have a group of their own,
# which is a number to compare; one that somebody put into another group is found by its
# name (its answers are given their mark, too, which does no harm: LAN routes come first).
# From whatever other interface a packet comes: a settled flow keeps its link.
nft_steer() {
	emit "	chain from_links {"
	both=
	for interface in $interfaces; do ! is_lan "$interface" || both=yes; done
	[ -n "$both" ] || emit "		ct state != new return"
	nft_interfaces
	emit "	}"
	emit "	chain unsettled_lan {"
	emit "		ct mark & $mask != 0 goto known"
	emit "		meta mark & $mask == 0 goto from_lan"
	emit "	}"
	emit "	chain unsettled {"
	emit "		ct mark & $mask != 0 goto known"
	plain_lans
	# shellcheck disable=SC2086
	case $lans in
	*' '*) nft_interfaces $lans ;;
	*)
		[ -z "$lans" ] || emit "		iifname \"$lans\" goto from_lan"
		nft_interfaces
		;;
	esac
	# "ppp+": nft writes it with a star, and not in a map
	for interface in $lan; do
		case $interface in *+) emit "		iifname \"${interface%+}*\" goto from_lan" ;; esac
	done
	emit "	}"
	emit "	chain steer {"
	emit "		type filter hook prerouting priority -151; policy accept;"
	emit "		iifgroup $LINK_GROUP goto from_links"
	emit "		meta mark 0 meta mark set ct mark & $mask comment \"nobody else's bits to keep\""
	emit "		meta mark & $mask == 0 goto unsettled"
	emit "	}"
}

# The packets that wait for a decision, and only they; a source beyond its limit
# has `waiting` in the conntrack mark too
nft_queue() {
	[ "$backend" = nft ] || return 0
	if [ "$fallback" = yes ]; then flags='flags bypass '; else flags=; fi
	if [ "$queue_first" = "$queue_last" ]; then to=$queue_first; else to=$queue_first-$queue_last; fi
	emit "		meta mark & $mask == $waiting ct mark & $mask == 0 queue ${flags}to $to"
}

# The order of these is the same on every kernel: a mark that the connection has
# already wins (another packet of it was first), then the daemon's choice, then the
# fallback. A choice counts once: in the packet that it was made for. No packet of a
# connection that has begun comes here, at no cost: that is what chains of type nat are.
# (Of the router's own packets some do, through own_commit: they are told by `confirmed`.)
# The kernel calls all of them at -100; the number puts this one ahead of everybody's DNAT,
# which would end the way.
nft_commit() {
	emit "	chain commit {"
	emit "		type nat hook prerouting priority -199; policy accept;"
	emit "		meta mark & $mask vmap @commits"
	emit "	}"
	for id in $links; do
		link_use "$id"
		emit "	chain commit_$id {"
		emit "		ct status confirmed ct mark & $ids != 0 goto known"
		emit "		ct mark & $mask == $l_settled counter name decided_$id return comment \"the verdict wrote it\""
		emit "		ct mark & $ids != 0 goto known"
		emit "		counter name decided_$id goto settle_$id"
		emit "	}"
	done
	emit "	chain commit_main {"
	emit "		ct mark & $ids != 0 goto known"
	emit "		goto settle_main"
	emit "	}"
	# Here and not by an ip rule alone: the kernel answers one in two seconds of
	# those, and a client's second refused connection would wait for its timeout
	emit "	chain commit_reject {"
	emit "		meta l4proto tcp reject with tcp reset"
	emit "		reject with icmpx type admin-prohibited"
	emit "	}"
	emit "	chain commit_waiting {"
	emit "		ct mark & $ids != 0 goto known"
	if [ "$fallback" = yes ]; then
		emit "		goto fallback"
	else
		emit "		drop comment \"nobody decided, and fallback is off\""
	fi
	emit "	}"
}

# Up to Linux 6.11 a packet that waited beside another one of its connection comes back with
# that one's entry, which is confirmed by then. Its own answer is another where the queue was
# full and the fallback took the other one. (Later kernels let it go by its own answer.)
nft_overtaken() {
	kernel_before 6 12 || return 0
	emit "	chain overtaken {"
	emit "		type filter hook prerouting priority -149; policy accept;"
	emit "		ct state new ct status & confirmed != 0 meta mark & $mask != 0 goto known"
	emit "	}"
}

# Packet mark -> what the commit chain does with it
nft_commits_map() {
	emit "	map commits {"
	emit "		type mark : verdict; size 256"
	printf '		elements = { '
	for id in $links; do
		link_use "$id"
		printf '%s : goto commit_%s, ' "$l_mark" "$id"
	done
	emit "$waiting : goto commit_waiting, $main : goto commit_main, $reject : goto commit_reject }"
	emit "	}"
}

# nft_deal NAME FAMILY ID...: the map that deals flows to these links by weight, in
# turns. While the daemon runs it keeps its elements as they should be (rules.state
# tells it which maps there are): so all links may come, not just those of now.
nft_deal() {
	[ $# -gt 2 ] || return 0
	emit "$1 $2 $SLOTS $(shift 2 && echo "$*")" >>"$work/fallbacks"
	emit "	map $1 {"
	emit "		typeof numgen inc mod $SLOTS : verdict"
	printf '		elements = { '
	shift 2
	weights_of "$@"
	if [ "$total" -gt 0 ]; then apportion; else weights="main:$SLOTS" total=$SLOTS; fi
	interleave |
		awk '{ printf "%s%d : goto take_%s", (NR > 1 ? ", " : ""), NR - 1, $1 } END { print " }" }'
	emit "	}"
}

# nft_pick NAME ID...: the next turn of a map. On older kernels a packet that looks into
# a map at the moment when its elements are exchanged may find nothing: it looks again.
nft_pick() {
	if [ $# -gt 1 ]; then
		emit "		numgen inc mod $SLOTS vmap @$1"
		emit "		numgen inc mod $SLOTS vmap @$1"
	fi
	emit "		goto take_main"
}

nft_fallback_maps() {
	fallback6_plan
	: >"$work/fallbacks"
	# shellcheck disable=SC2046
	nft_deal fallback4 4 $(carriers 4)
	# shellcheck disable=SC2086
	nft_deal fallback6 6 $anywhere6
	number=0
	for prefix in $prefixes6; do
		number=$((number + 1))
		eval "nft_deal fallback6_$number 6 \$prefix6_links_$number"
	done
}

nft_fallback() {
	for id in $links; do
		link_use "$id"
		emit "	chain take_$id {"
		emit "		meta mark set meta mark & $not_mask | $l_mark"
		emit "		counter name fallback_$id goto settle_$id"
		emit "	}"
	done
	emit "	chain take_main {"
	emit "		meta mark set meta mark & $not_mask | $main"
	emit "		goto settle_main"
	emit "	}"
	number=0
	for prefix in $prefixes6; do
		number=$((number + 1))
		emit "	chain fallback6_$number {"
		eval "nft_pick fallback6_$number \$prefix6_links_$number"
		emit "	}"
	done
	emit "	chain fallback6 {"
	number=0
	for prefix in $prefixes6; do
		number=$((number + 1))
		emit "		ip6 saddr $prefix goto fallback6_$number"
	done
	# shellcheck disable=SC2086
	nft_pick fallback6 $anywhere6
	emit "	}"
	emit "	chain fallback {"
	emit "		meta nfproto ipv6 goto fallback6"
	# shellcheck disable=SC2046
	nft_pick fallback4 $(carriers 4)
	emit "	}"
}

# The router's own packets. Two kinds of chain: in `type route` ones a changed mark
# routes the packet again, in `type filter` ones it does not.
nft_own() {
	emit "	chain own {"
	emit "		type filter hook output priority -152; policy accept;"
	nft_events "ct state new"
	[ -z "$helpers" ] || emit "		ct state new jump assign_helper"
	emit "		ct mark & $ids != 0 return"
	emit "		meta mark & $mask != 0 goto own_marked"
	[ "$local_traffic" != yes ] || nft_own_new
	emit "	}"
	# A tunnel's outer packet keeps the mark of the inner one; only a socket that
	# asked for a mark (SO_MARK) means it
	emit "	chain own_marked {"
	emit "		meta l4proto { 4, 41, 47 } meta mark set meta mark & $not_mask return"
	emit "		socket mark & $mask != 0 return"
	emit "		meta mark set meta mark & $not_mask"
	emit "	}"
	emit "	chain own_restore {"
	emit "		type route hook output priority -151; policy accept;"
	emit "		ct mark & $mask != { 0, $waiting, $main } goto known"
	emit "	}"
	emit "	chain own_queue {"
	emit "		type filter hook output priority -150; policy accept;"
	nft_queue
	emit "	}"
	emit "	chain own_commit {"
	emit "		type route hook output priority -149; policy accept;"
	emit "		meta mark & $mask vmap @commits"
	emit "	}"
}

# Only what would leave by main's default link with its address: anything else is
# bound to somewhere. DHCP is the link's own business.
nft_own_new() {
	emit "		ct state != new return"
	emit "		fib daddr type { local, broadcast, anycast, multicast } return"
	emit "		ip6 daddr fe80::/10 return"
	emit "		udp dport { 67, 547 } return"
	for family in 4 6; do
		default_link $family || continue
		for other in $default_others; do
			emit "		oifname \"$default_if\" $ip saddr $other return"
		done
		emit "		oifname \"$default_if\" meta nfproto ipv$family fib saddr . oif type local meta mark set meta mark & $not_mask | $waiting"
	done
}

nft_helpers() {
	[ -n "$helpers" ] || return 0
	for helper in $helpers; do
		for where in $(helper_ports "$helper"); do
			emit "	ct helper ${helper}_${where%:*} { type \"$helper\" protocol ${where%:*}; }"
		done
	done
	emit "	chain assign_helper {"
	for helper in $helpers; do
		for where in $(helper_ports "$helper"); do
			emit "		${where%:*} dport ${where#*:} ct helper set \"${helper}_${where%:*}\""
		done
	done
	emit "	}"
}

# A new flow was sent to a link (mark without `settled`), but a more specific route
# of main took it elsewhere: it belongs to the link of the interface it leaves by.
nft_settle() {
	emit "	chain moved {"
	for interface in $interfaces; do
		first=
		for id in $links; do
			link_use "$id"
			[ "$l_if" != "$interface" ] || [ -n "$first" ] || first=$id
		done
		# which of several links it is cannot be seen from the interface: none
		if is_shared "$interface"; then first=main; fi
		emit "		oifname \"$interface\" goto settle_$first"
	done
	emit "		goto settle_main"
	emit "	}"
	for id in $links; do
		link_use "$id"
		emit "	chain stays_$id {"
		emit "		oifname \"$l_if\" return"
		emit "		goto moved"
		emit "	}"
	done
	emit "	chain proxied {"
	emit "		type filter hook input priority -149; policy accept;"
	printf '		meta mark & %s { ' "$mask"
	separator=
	for id in $links; do
		link_use "$id"
		printf '%s%s' "$separator" "$l_mark"
		separator=', '
	done
	emit " } goto settle_main"
	emit "	}"
}

nft_stays_map() {
	emit "	map stays {"
	emit "		type mark : verdict; size 256"
	printf '		elements = { '
	separator=
	for id in $links; do
		link_use "$id"
		printf '%s%s : jump stays_%s' "$separator" "$l_mark" "$id"
		separator=', '
	done
	emit " }"
	emit "	}"
}

# Established packets: answers to the LAN, and flows on their own link. With many links
# one after the other would cost more than the look-ups behind.
nft_guard_most() {
	plain_lans
	# shellcheck disable=SC2086
	case $lans in
	'') ;;
	*' '*) emit "		meta mark & $mask == 0 oifname $(quoted_list $lans) accept" ;;
	*) emit "		meta mark & $mask == 0 oifname \"$lans\" accept" ;;
	esac
	number=0
	for id in $links; do
		number=$((number + 1))
		[ $number -le 4 ] || break
		link_use "$id"
		emit "		ct mark & $mask == $l_settled oifname \"$l_if\" accept"
	done
}

# Settled flows leave by their own link or not at all: `snat to` would carry the
# old address onto another link. Flows of `main` may go where main says.
nft_guard() {
	number=0
	for interface in $interfaces; do
		number=$((number + 1))
		list="0, $waiting, $main"
		for id in $links; do
			link_use "$id"
			[ "$l_if" != "$interface" ] || list="$list, $l_settled"
		done
		emit "	chain guard_$number { ct mark & $mask != { $list } counter drop; }"
	done
	emit "	chain guard {"
	emit "		type filter hook postrouting priority 99; policy accept;"
	nft_guard_most
	emit "		meta mark & $mask vmap @stays"
	printf '		oifname vmap { '
	separator=
	number=0
	for interface in $interfaces; do
		number=$((number + 1))
		printf '%s"%s" : goto guard_%s' "$separator" "$interface" "$number"
		separator=', '
	done
	emit " }"
	emit "	}"
}

nft_nat() {
	emit "	chain nat {"
	emit "		type nat hook postrouting priority 100; policy accept;"
	for family in 4 6; do
		ip=ip
		[ $family = 4 ] || ip=ip6
		for id in $links; do
			link_use "$id"
			carries "$id" $family || continue
			which="oifname \"$l_if\""
			! is_shared "$l_if" || which="$which ct mark & $mask == $l_settled"
			nat_of $family
			case $nat in
			none) ;;
			masquerade) emit "		$which meta nfproto ipv$family masquerade" ;;
			*) emit "		$which meta nfproto ipv$family snat $ip to $nat" ;;
			esac
		done
		for interface in $shared; do
			emit_shared_nat "$interface" $family
		done
	done
	emit "	}"
}

# What leaves a shared interface without a link of its own still needs an address
emit_shared_nat() {
	for id in $(links_of "$1" "$2"); do
		eval "nat=\$L${id}_nat$2"
		[ "$nat" = masquerade ] || continue
		emit "		oifname \"$1\" meta nfproto ipv$2 ct mark & $mask == { 0, $main } masquerade"
		return
	done
}

# The whole table; the backend says whether the queue stands here
AFTER_FLUSH=2 # the line after which all is gone but what a restart has to delete by name (nft_apply.sh)
nft_text() {
	emit "table $TABLE"
	emit "flush table $TABLE"
	emit "table $TABLE {"
	for id in $links; do
		emit "	counter decided_$id { }"
		emit "	counter fallback_$id { }"
	done
	emit "	set sources4 { type ipv4_addr; size 65536; flags dynamic,timeout; timeout 10s; }"
	emit "	set sources6 { type ipv6_addr; size 65536; flags dynamic,timeout; timeout 10s; }"
	nft_commits_map
	nft_stays_map
	nft_fallback_maps
	nft_helpers
	nft_known
	nft_from_lan
	nft_from_link
	nft_steer
	nft_fallback
	nft_commit
	nft_overtaken
	nft_own
	nft_settle
	nft_offload
	nft_guard
	nft_nat
	emit "}"
}

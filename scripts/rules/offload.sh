# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# offload.sh - established connections past the hooks, through the kernel's flowtable
#
# A connection enters the table by a packet that carries its settled mark, which is
# one that came from the LAN's side: the kernel routes the packet's own direction as
# it just did, and looks up the other one, towards the LAN, itself. Answers from a
# link carry no mark; what they would enter is a route by main. From then on both
# directions keep their routes until the connection ends, its entry is deleted, a
# route changes or an interface goes: then the next packet passes the hooks again,
# where the conntrack mark (or, without an entry, the daemon) knows the link.

# `offload` := no where it cannot work
check_offload() {
	[ "$offload" = yes ] || return 0
	case $backend in
	nft*) reason='this kernel has no flowtables (module nft_flow_offload)' ;;
	*) reason="backend $backend has no flowtables" ;;
	esac
	case $backend in nft*) ! probe_offload || return 0 ;; esac
	offload=no
	warn "offload: $reason: connections keep passing the hooks"
}

probe_offload() {
	nft_takes <<-END
		table inet nfqb_probe {
			flowtable f { hook ingress priority 0; devices = { lo }; counter; }
			chain c { type filter hook forward priority 100; flow add @f; }
		}
	END
}

# The interfaces of links and LAN that exist; "ppp+" stands for all that begin so
offload_devices() {
	interfaces_read
	for interface in $interfaces $lan; do
		case $interface in
		*+) emit "$interface_lines" | awk -v start="${interface%+}" 'index($1, start) == 1 { print $1 }' ;;
		*) ! interface_exists "$interface" || echo "$interface" ;;
		esac
	done | sort -u
}

# Nothing without the option: an empty chain costs every packet 20 ns. (A restart that
# takes the option away deletes the chain, and with it, once, what waits in a queue.) It
# stands behind the usual place of firewalls: what they refuse does not enter the table.
nft_offload() {
	[ "$offload" = yes ] || return 0
	devices=$(offload_devices)
	# shellcheck disable=SC2086
	[ -z "$devices" ] || emit "	flowtable fast { hook ingress priority 0; devices = $(quoted_list $devices); counter; }"
	emit "	chain settled_fast {"
	emit "		type filter hook forward priority 100; policy accept;"
	if [ -n "$devices" ]; then
		list=
		for id in $links; do
			link_use "$id"
			list="$list${list:+, }$l_settled"
		done
		emit "		meta mark & $mask { $list } ct state established meta l4proto { tcp, udp } flow add @fast"
	fi
	emit "	}"
}

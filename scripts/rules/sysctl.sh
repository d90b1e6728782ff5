# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sysctl.sh - the few kernel settings that steering needs
#
# State lines `sysctl PATH OLD NEW` (PATH below /proc/sys). At stop a value goes
# back only if it is still ours. Turning forwarding on or off makes the kernel
# change further values; those are recorded as `side PATH OLD NEW` and put back
# after the switch itself.

# Not the shell's `read`: dash's asks for single bytes, and these files have no second one
sysctl_read() { cat "/proc/sys/$1" 2>/dev/null; }
sysctl_write() { echo "$2" >"/proc/sys/$1"; } 2>/dev/null

sysctl_set() {
	old=$(sysctl_read "$1") || return 0
	[ "$old" != "$2" ] || return 0
	grep -q "^sysctl $1 " "$state" 2>/dev/null || state_add sysctl "$1" "$old" "$2"
	sysctl_write "$1" "$2" || {
		echo "nfq-balancer-rules: cannot write /proc/sys/$1" >&2
		return 1
	}
}

# What switching the forwarding of a family changes besides: "PATH VALUE" of each
side_values() {
	set -- "$1" /proc/sys/net/ipv"$1"/conf/*/forwarding
	[ "$1" = 6 ] || set -- "$@" /proc/sys/net/ipv4/conf/all/accept_redirects
	shift
	grep -H '' "$@" 2>/dev/null | sed -n '/ipv6.conf.all.forwarding/!s|^/proc/sys/\(.*\):|\1 |p'
}

forwarding_on() {
	family=$1 switch=$2
	[ "$(sysctl_read "$switch")" = 0 ] || return 0
	side_values "$family" >"$work/side"
	sysctl_set "$switch" 1 || return 1
	# those that did not change, too: turning it off changes them
	side_values "$family" | awk -v state="$state" -v before="$work/side" '
		BEGIN {
			while ((getline <state) > 0) noted[$1, $2] = 1
			while ((getline <before) > 0) old[$1] = $2
		}
		($1 in old) && !(("side", $1) in noted) { print "side", $1, old[$1], $2 }' >"$work/noted"
	cat "$work/noted" >>"$state"
}

# A router ignores router advertisements unless accept_ra is 2, and forgets the
# default route that it learnt from one
keep_advertisements() {
	[ "$(sysctl_read net/ipv6/conf/all/forwarding)" = 0 ] || return 0
	for interface in $interfaces; do
		[ "$(sysctl_read "net/ipv6/conf/$interface/accept_ra")" != 1 ] ||
			sysctl_set "net/ipv6/conf/$interface/accept_ra" 2 || return 1
	done
}

# The daemon makes it loose when the interface comes
loosen_later() {
	default=$(sysctl_read net/ipv4/conf/default/rp_filter)
	[ "$default" != 2 ] && [ "$all" != 2 ] || return 0
	[ "$((default + all))" = 0 ] || grep -q "^sysctl net/ipv4/conf/$1/rp_filter " "$state" ||
		state_add sysctl "net/ipv4/conf/$1/rp_filter" "$default" 2
}

# The kernel takes the higher of all's and the interface's value: 2 (loose) beats 1
# (strict), so that `all` can stay as it is
loosen_filters() {
	for interface in $interfaces; do
		all=$(sysctl_read net/ipv4/conf/all/rp_filter)
		strict=$(sysctl_read "net/ipv4/conf/$interface/rp_filter") || {
			loosen_later "$interface"
			continue
		}
		[ "$all" -le "$strict" ] || strict=$all
		[ "$strict" != 1 ] || sysctl_set "net/ipv4/conf/$interface/rp_filter" 2 || return 1
	done
}

# What the daemon's feedback reads: events (1: also for connections that nobody listened
# to when they began), packets and times of each connection. After the rules, which make
# the kernel load what these belong to.
watch_connections() {
	[ "$feedback" = yes ] || return 0
	for setting in acct timestamp events; do
		sysctl_set "net/netfilter/nf_conntrack_$setting" 1 || return 1
	done
}

sysctls_set() {
	if [ "$ip_forward" = set ]; then
		[ "$have4" = 0 ] || forwarding_on 4 net/ipv4/ip_forward || return 1
		if [ "$have6" = 1 ]; then
			keep_advertisements && forwarding_on 6 net/ipv6/conf/all/forwarding || return 1
		fi
	fi
	loosen_filters
}

# Which of ours still hold is looked at before the first is put back: one write
# changes others. Interfaces that are gone took their values along.
sysctls_reset() {
	for key in sysctl side; do
		state_lines $key | while read -r path old new; do
			[ "$(sysctl_read "$path")" != "$new" ] || echo "$path $old"
		done
	done >"$work/back"
	while read -r path old; do
		[ ! -e "/proc/sys/$path" ] || [ "$(sysctl_read "$path")" = "$old" ] || sysctl_write "$path" "$old" ||
			warn "cannot put back /proc/sys/$path to $old"
	done <"$work/back"
}

# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# routes.sh - ip rules, one table per link, interface groups, table names
#
# A plan is made first ($work/rules4, rules6, routes4, routes6: one line each, in
# the form in which `ip` prints rules), then the kernel is brought there: missing
# things are added, and what an older plan had is taken away afterwards, so that a
# restart has no moment without routes. Only things with our protocol number are
# ever replaced or deleted.

UNREACHABLE_METRIC=4278198272 # after every route that anybody else may want

short_hex() { printf '0x%x' "$1"; }

# ---- what is there ----

# "NAME FLAGS GROUP" of each interface, a line before and after each. In a variable: there may
# be sixty links, each is asked for many times, and a process costs a small router 10 ms.
interfaces_read() {
	[ -n "${interface_lines:-}" ] || {
		interface_lines=$NEWLINE$(ip -N -o link show 2>/dev/null | awk '{
			name = $2; sub(/:$/, "", name); sub(/@.*/, "", name); group = ""
			for (i = 3; i <= NF; i++) if ($i == "group") group = $(i + 1)
			print name, $3, group }')$NEWLINE
		bridge_lines=$NEWLINE$(ip -o link show type bridge 2>/dev/null | awk '{ sub(/[:@].*/, "", $2); print $2 }')$NEWLINE
	}
}
interfaces_forget() { interface_lines=''; }
# Sets `interface_flags` and `interface_group`; both are empty where there is no such interface
interface_find() {
	interfaces_read
	interface_flags='' interface_group=''
	interface_line=${interface_lines#*"$NEWLINE$1 "}
	[ "$interface_line" != "$interface_lines" ] || return 1
	interface_line=${interface_line%%"$NEWLINE"*}
	interface_flags=${interface_line%% *} interface_group=${interface_line#* }
}
interface_exists() { interface_find "$1"; }
interface_up() { interface_find "$1" && case $interface_flags in *[\<,]UP[,\>]*) ;; *) return 1 ;; esac }
interface_ready() { interface_find "$1" && case $interface_flags in *[\<,]UP,LOWER_UP*) ;; *) return 1 ;; esac }
is_bridge() {
	interfaces_read
	case $bridge_lines in *"$NEWLINE$1$NEWLINE"*) ;; *) return 1 ;; esac
}

# "NAME/ADDRESS" of all global addresses of a family, and main's routes that the kernel made for them
addresses_read() {
	addresses=$(ip -o "-$1" addr show scope global 2>/dev/null |
		awk '/ tentative| dadfailed/ { next } { sub(/\/.*/, "", $4); print $2 "/" $4 }')
	ip "-$1" route show table main proto kernel 2>/dev/null >"$work/connected"
}

# The global addresses of an interface, of the family that was read
addresses_of() {
	for one_address in $addresses; do
		[ "${one_address%%/*}" != "$1" ] || echo "${one_address#*/}"
	done
}

# main's default routes of a family, best first, one next hop per line: "via GW dev IF"
main_defaults() {
	ip -N "-$1" route show table main default 2>/dev/null | awk '
		function hop(  i, text) {
			via = dev = ""
			for (i = 1; i < NF; i++) {
				if ($i == "via") via = $(i + 1) == "inet6" ? $(i + 2) : $(i + 1)
				if ($i == "dev") dev = $(i + 1)
			}
			if (dev != "") print (via == "" ? "-" : via), dev
		}
		{ hop() }'
}

# Which link does main's default belong to? Sets default_if, default_link_id, and
# default_others: the router's addresses that belong to other links of that interface.
default_link() {
	default_via=$(main_defaults "$1" | sed -n '1s/ .*//p')
	default_if=$(main_defaults "$1" | sed -n '1s/.* //p')
	default_others=
	ip=ip
	[ "$1" = 4 ] || ip=ip6
	[ -n "$default_if" ] && is_link "$default_if" || return 1
	for one in $(links_of "$default_if" "$1"); do
		eval "one_gw=\$L${one}_gw$1 one_address=\$L${one}_address"
		[ "$one_gw" = "$default_via" ] || [ "$one_address" = - ] || default_others="$default_others $one_address"
	done
	case $1 in
	4) default_others=$(echo "$default_others" | tr ' ' '\n' | grep -v :) ;;
	6) default_others=$(echo "$default_others" | tr ' ' '\n' | grep :) ;;
	esac
	return 0
}

# ---- the plan ----

plan_rules() {
	family=$1
	bits=$(short_hex "$mask")
	rule() { emit "$((preference + $1)) from $2"; }
	rule 0 "all lookup 254 suppress_prefixlength 0 suppress_ifgroup $LINK_GROUP"
	for id in $(carriers "$family"); do
		link_use "$id"
		rule 1 "all fwmark $(short_hex "$l_settled")/$bits lookup $l_table"
	done
	for id in $(carriers "$family"); do
		link_use "$id"
		# Only unmarked packets: a socket of the router that was steered elsewhere
		# keeps the source address of main's default link
		for address in $(bound_addresses "$family"); do
			rule 1 "$address fwmark 0/$bits lookup $l_table"
		done
	done
	case $backend in
	# the commit chain answers first and better; the rule is for a chain that is gone
	nft*) rule 2 "all fwmark $(short_hex "$reject")/$bits prohibit" ;;
	esac
	rule 3 "all lookup 254 suppress_prefixlength 0"
	for id in $(carriers "$family"); do
		link_use "$id"
		rule 4 "all fwmark $(short_hex "$l_mark")/$bits lookup $l_table"
	done
}

# The addresses by which a socket of the router is bound to the current link (l_*)
bound_addresses() {
	if [ "$l_address" = - ]; then
		addresses_of "$l_if"
		return
	fi
	case $1$l_address in
	6*:* | 4*.*) echo "$l_address" ;;
	esac
}

# "via ADDRESS", "" (point to point) for the current link; fails if there is none now
gateway_words() {
	eval "wanted=\$l_gw$1"
	onlink=
	case $wanted in
	none) ;;
	auto)
		via=$(main_defaults "$1" | awk -v dev="$l_if" '$2 == dev { print $1; exit }')
		[ -n "$via" ] || {
			warn "link $l_name: gateway auto, but main has no IPv$1 default route of $l_if; the daemon adds it when it comes"
			return 1
		}
		[ "$via" = - ] || gateway_via "$1" "$via"
		;;
	*) gateway_via "$1" "$wanted" ;;
	esac
}

gateway_via() {
	case $2 in
	fe80:* | FE80:*) echo "via $2" ;;
	*)
		if in_connected "$1" "$2" "$l_if"; then echo "via $2"; else echo "via $2 onlink"; fi
		;;
	esac
}

# Is the address in a connected subnet of the interface? The kernel knows: main's
# route to it has no gateway. (Matching by hand would mean IPv6 arithmetic.)
in_connected() {
	ip "-$1" route show table main match "$2" dev "$3" 2>/dev/null |
		awk '$1 != "default" && !/ via / { found = 1 } END { exit !found }'
}

plan_routes() {
	family=$1
	for id in $(carriers "$family"); do
		link_use "$id"
		emit "unreachable default metric $UNREACHABLE_METRIC table $l_table"
		interface_up "$l_if" || continue
		awk -v dev="$l_if" -v table="$l_table" '
			$1 !~ /\// || $1 == "default" { if ($1 == "default" || $1 ~ /^fe80/) next }
			{ line = $1 " dev " dev; found = 0
			  for (i = 2; i < NF; i++) {
				if ($i == "src" || $i == "scope") line = line " " $i " " $(i + 1)
				if ($i == "dev" && $(i + 1) == dev) found = 1
			  }
			  if (found) print line " table " table }' "$work/connected"
		gateway=$(gateway_words "$family") || continue
		source=
		case $family$l_address in 6*:* | 4*.*) source=" src $l_address" ;; esac
		onlink=
		case $gateway in *' onlink') gateway=${gateway% onlink} onlink=' onlink' ;; esac
		emit "default${gateway:+ $gateway} dev $l_if$source table $l_table$onlink"
	done
}

plan_nothing() {
	for family in 4 6; do
		: >"$work/rules$family"
		: >"$work/routes$family"
	done
	interfaces_forget
}

plan_network() {
	plan_nothing
	for family in 4 6; do
		eval "[ \"\$have$family\" = 1 ]" || continue
		addresses_read "$family"
		plan_rules $family >"$work/rules$family"
		plan_routes "$family" >"$work/routes$family"
	done
}

# Tables that hold somebody else's default route are not ours to use
check_tables() {
	for id in $links; do
		link_use "$id"
		for family in 4 6; do
			carries "$id" $family || continue
			foreign=$(foreign_default $family "$l_table")
			[ -z "$foreign" ] ||
				die "link $l_name: table $l_table already has a default route of somebody else ($foreign): delete it, or give the link another table"
		done
	done
}

foreign_default() {
	ip -N "-$1" route show table "$2" 2>/dev/null | awk '
		($1 == "default" || $2 == "default") && !/ proto 157( |$)/ { print; exit }'
}

# ---- to the kernel ----

rules_present() {
	ip -N "-$1" rule show | awk '/ proto 157( |$)/ {
		sub(/:[ \t]+/, " "); sub(/ proto 157.*/, ""); sub(/ 8$/, " prohibit"); print }'
}

# Routes as "TABLE DESTINATION", which tell them apart: a changed gateway is replaced in place.
# The unreachable one goes by its type.
route_keys() {
	awk '{ for (i = 2; i < NF; i++) if ($i == "table") print $(i + 1), ($1 == "7" ? "unreachable" : $1) }'
}
routes_present() { ip -N "-$1" route show table all proto "$PROTOCOL" 2>/dev/null | route_keys; }

# Lines of a plan as commands for `ip -batch`
routes_batch() { sed "s/.*/route replace & proto $PROTOCOL/"; }
rules_batch() { sed "s/^\([0-9]*\) \(.*\)/rule $1 \2 pref \1 protocol $PROTOCOL/"; }

# What the state says of a family's plan
plan_lines() {
	plan_tables "$1" | sed "s/^/table$1 /"
	sed "s/^/route$1 /" "$work/routes$1"
	sed "s/^/rule$1 /" "$work/rules$1"
}

# Add what is planned and not there. All of it goes to the state first.
network_add() {
	for family in 4 6; do
		plan_lines $family | without "$state" >"$work/noted"
		cat "$work/noted" >>"$state"
		routes_batch <"$work/routes$family" >"$work/batch"
		run_batch $family || return 1
		rules_present $family >"$work/present"
		without "$work/present" <"$work/rules$family" | rules_batch add >"$work/batch"
		run_batch $family || return 1
	done
}

run_batch() {
	[ ! -s "$work/batch" ] || ip "-$1" -batch "$work/batch" 2>"$work/ip.error" && return 0
	sed -n 's/^/ip: /; 1p' "$work/ip.error" >&2
	line=$(sed -n 's/^Command failed [^:]*:\([0-9]*\).*/\1/p' "$work/ip.error")
	[ -z "$line" ] || echo "ip: in: $(sed -n "${line}p" "$work/batch")" >&2
	return 1
}

# Take away what has our protocol number and is not in the plan: it was made for an
# older plan, or by the daemon for an interface that came late. Goes on after an error.
network_prune() {
	for family in 4 6; do
		{
			rules_present $family | without "$work/rules$family" | rules_batch del
			stale_routes $family
		} >"$work/batch"
		[ ! -s "$work/batch" ] || ip "-$family" -force -batch "$work/batch"
	done
	return 0
}

# The daemon's routes carry the same number; tables that are not in the state are not ours.
stale_routes() {
	state_lines "table$1" >"$work/tables"
	route_keys <"$work/routes$1" >"$work/keep"
	routes_present "$1" | without "$work/keep" | awk -v tables="$work/tables" -v protocol="$PROTOCOL" '
		BEGIN { while ((getline table <tables) > 0) ours[table] = 1 }
		$1 in ours { print "route del", $2 (($2 == "unreachable") ? " default" : ""), "table", $1, "proto", protocol }'
}

# The state after a restart: only what the plan has
state_without_stale() {
	{
		grep -v '^\(rule\|route\|table\)[46] ' "$state"
		for family in 4 6; do plan_lines $family; done
	} | state_replace
}

plan_tables() { sed -n 's/.* table \([0-9]*\).*/\1/p' "$work/routes$1" | sort -u; }

# ---- interface groups ----

# Links' interfaces go into one group, so that the first ip rule can leave their
# routes out. A group that somebody else gave is kept: the warning says the price.
group_set() { ip link set dev "$1" group "$LINK_GROUP"; }
groups_set() {
	for interface in $interfaces; do
		interface_find "$interface"
		case $interface_group in
		'') state_note group "$interface" ;; # the daemon does it when it comes
		0)
			state_note group "$interface"
			group_set "$interface" || return 1
			;;
		"$LINK_GROUP") ;;
		*) warn "$interface is in interface group $interface_group already: flows settled on other links follow main's more specific routes through $interface" ;;
		esac
	done
}

# Back to group 0; `groups_reset keep` spares the links' interfaces of the policy
groups_reset() {
	for interface in $(state_lines group); do
		[ $# -eq 0 ] || ! is_link "$interface" || continue
		interface_find "$interface"
		[ "$interface_group" != "$LINK_GROUP" ] || ip link set dev "$interface" group 0
	done
}

# ---- names of tables ----

names_file=${NFQB_RT_TABLES:-/etc/iproute2/rt_tables.d/nfq-balancer.conf}

names_text() {
	for id in $links; do
		link_use "$id"
		[ "$l_tname" = - ] || emit "$l_table	$l_tname"
	done
}

# A table works without its name, so that a read-only /etc is no reason not to start
names_set() { names_write || warn "cannot write $names_file: the tables have numbers only"; }

names_write() {
	text=$(names_text)
	if [ -z "$text" ]; then
		names_reset
		return 0
	fi
	directory=${names_file%/*}
	if [ ! -d "$directory" ]; then
		state_note names-directory "$directory"
		mkdir -p "$directory" 2>/dev/null || return 1
	fi
	[ ! -e "$names_file" ] || [ -n "$(state_value names)" ] || warn "$names_file was there already: replaced"
	state_note names "$names_file"
	{ printf '%s\n' "# made by nfq-balancer-rules; removed by its stop" "$text" >"$names_file"; } 2>/dev/null
}

names_reset() {
	for file in $(state_lines names); do rm -f "$file"; done
	for directory in $(state_lines names-directory); do rmdir "$directory" 2>/dev/null; done
	return 0
}

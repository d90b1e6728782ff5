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

interfaces_read() {
	[ -e "$work/links" ] || {
		ip -N -o link show 2>/dev/null | awk '{
			name = $2; sub(/:$/, "", name); sub(/@.*/, "", name)
			for (i = 3; i <= NF; i++) if ($i == "group") group = $(i + 1)
			print name, $3, group }' >"$work/links"
		ip -o link show type bridge 2>/dev/null | awk '{ sub(/[:@].*/, "", $2); print $2 }' >"$work/bridges"
	}
}
interface_flags() {
	interfaces_read
	awk -v name="$1" '$1 == name { print $2 }' "$work/links"
}
interface_group() {
	interfaces_read
	awk -v name="$1" '$1 == name { print $3 }' "$work/links"
}
interface_exists() { [ -n "$(interface_flags "$1")" ]; }
interface_up() { case $(interface_flags "$1") in *[\<,]UP[,\>]*) ;; *) return 1 ;; esac }
interface_ready() { case $(interface_flags "$1") in *[\<,]UP,LOWER_UP*) ;; *) return 1 ;; esac }
is_bridge() {
	interfaces_read
	grep -qxF "$1" "$work/bridges"
}

# The global addresses of an interface
addresses_of() {
	ip -o "-$2" addr show dev "$1" scope global 2>/dev/null |
		awk '/ tentative| dadfailed/ { next } { sub(/\/.*/, "", $4); print $4 }'
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
		addresses_of "$l_if" "$1"
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
		ip "-$family" route show table main proto kernel dev "$l_if" 2>/dev/null |
			awk -v dev="$l_if" -v table="$l_table" -v src="$l_address" -v family="$family" '
				$1 !~ /\// || $1 == "default" { if ($1 == "default" || $1 ~ /^fe80/) next }
				{ line = $1 " dev " dev
				  for (i = 2; i < NF; i++) if ($i == "src" || $i == "scope") line = line " " $i " " $(i + 1)
				  print line " table " table }'
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
	rm -f "$work/links"
}

plan_network() {
	plan_nothing
	for family in 4 6; do
		eval "[ \"\$have$family\" = 1 ]" || continue
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

routes_batch() {
	while read -r line; do emit "route replace $line proto $PROTOCOL"; done
}

rule_words() { emit "${1#* } pref ${1%% *} protocol $PROTOCOL"; }

# Add what is planned and not there. Each line goes to the state first.
network_add() {
	for family in 4 6; do
		for table in $(plan_tables $family); do
			state_note "table$family" "$table"
		done
		while read -r line; do state_note "route$family" "$line"; done <"$work/routes$family"
		while read -r line; do state_note "rule$family" "$line"; done <"$work/rules$family"
		routes_batch <"$work/routes$family" >"$work/batch"
		run_batch $family || return 1
		rules_present $family >"$work/present"
		without "$work/present" <"$work/rules$family" >"$work/missing"
		while read -r line; do emit "rule add $(rule_words "$line")"; done <"$work/missing" >"$work/batch"
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
# older plan, or by the daemon for an interface that came late
network_prune() {
	for family in 4 6; do
		rules_present $family | without "$work/rules$family" |
			while read -r line; do
				# shellcheck disable=SC2046
				ip "-$family" rule del $(rule_words "$line")
			done
		for table in $(state_lines "table$family"); do
			prune_table $family "$table"
		done
	done
}

# Routes are known by destination (and the unreachable one by its type): a changed
# gateway was replaced in place. The daemon's routes carry the same number.
prune_table() {
	if ! grep -q " table $2\( \|\$\)" "$work/routes$1"; then
		ip "-$1" route flush table "$2" proto "$PROTOCOL" 2>/dev/null
		return 0
	fi
	sed -n "/ table $2\( \|\$\)/p" "$work/routes$1" | awk '{ print $1 }' >"$work/keep"
	ip -N "-$1" route show table "$2" proto "$PROTOCOL" 2>/dev/null | awk '{ print ($1 == "7" || $1 == "unreachable") ? "unreachable" : $1 }' |
		without "$work/keep" |
		while read -r destination; do ip "-$1" route del "$destination" table "$2" proto "$PROTOCOL"; done
	return 0
}

# The state after a restart: only what the plan has
state_without_stale() {
	{
		grep -v '^\(rule\|route\|table\)[46] ' "$state"
		for family in 4 6; do
			plan_tables $family | sed "s/^/table$family /"
			sed "s/^/route$family /" "$work/routes$family"
			sed "s/^/rule$family /" "$work/rules$family"
		done
	} | state_replace
}

plan_tables() { sed -n 's/.* table \([0-9]*\).*/\1/p' "$work/routes$1" | sort -u; }

# ---- interface groups ----

# Links' interfaces go into one group, so that the first ip rule can leave their
# routes out. A group that somebody else gave is kept: the warning says the price.
groups_set() {
	for interface in $interfaces; do
		group=$(interface_group "$interface")
		case $group in
		'') state_note group "$interface" ;; # the daemon does it when it comes
		0)
			state_note group "$interface"
			ip link set dev "$interface" group "$LINK_GROUP" || return 1
			;;
		"$LINK_GROUP") ;;
		*) warn "$interface is in interface group $group already: flows settled on other links follow main's more specific routes through $interface" ;;
		esac
	done
}

# Back to group 0; `groups_reset keep` spares the links' interfaces of the policy
groups_reset() {
	for interface in $(state_lines group); do
		[ $# -eq 0 ] || ! is_link "$interface" || continue
		[ "$(interface_group "$interface")" != "$LINK_GROUP" ] || ip link set dev "$interface" group 0
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

names_set() {
	text=$(names_text)
	if [ -z "$text" ]; then
		names_reset
		return 0
	fi
	directory=${names_file%/*}
	if [ ! -d "$directory" ]; then
		state_note names-directory "$directory"
		mkdir -p "$directory" || return 1
	fi
	[ ! -e "$names_file" ] || [ -n "$(state_value names)" ] || warn "$names_file was there already: replaced"
	state_note names "$names_file"
	{
		echo "# made by nfq-balancer-rules; removed by its stop"
		echo "$text"
	} >"$names_file"
}

names_reset() {
	for file in $(state_lines names); do rm -f "$file"; done
	for directory in $(state_lines names-directory); do rmdir "$directory" 2>/dev/null; done
	return 0
}

# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# policy.sh - what the configuration means, as variables
#
# policy_read() takes the records of `nfq-balancer -n --print=rules`. Link values
# are kept as L<id>_<what>; link_use <id> copies those of one link to l_*.

find_binary() {
	if [ -n "${NFQB_BINARY:-}" ]; then
		binary=$NFQB_BINARY
	elif [ -x "$here/nfq-balancer" ]; then
		binary=$here/nfq-balancer
	elif [ -x "$here/../build/nfq-balancer/nfq-balancer" ]; then
		binary=$here/../build/nfq-balancer/nfq-balancer
	else
		binary=$(command -v nfq-balancer) || return 1
	fi
	[ -x "$binary" ]
}

hex32() { printf '0x%08x' $(($1 & 0xffffffff)); }

policy_link() {
	id=$1
	case $id in '' | *[!0-9]*) die "records of $binary: link id '$id' is no number" ;; esac
	[ $# -ge 15 ] || die "records of $binary: link $id has only $# fields"
	links="$links $id"
	eval "L${id}_name=\$2 L${id}_if=\$3 L${id}_table=\$4 L${id}_tname=\$5 L${id}_gw4=\$6 L${id}_gw6=\$7
		L${id}_nat4=\$8 L${id}_nat6=\$9 L${id}_address=\${10} L${id}_weight=\${11} L${id}_fweight=\${12}
		L${id}_mark=\${13} L${id}_settled=\${14} L${id}_prefixes=\${15}"
	case " $interfaces " in
	*" $3 "*) shared="$shared $3 " ;;
	*) interfaces="$interfaces $3" ;;
	esac
	[ "$6" = off ] || have4=1
	[ "$7" = off ] || have6=1
}

# Several links on one interface are told apart by the router's address on each
is_shared() { case $shared in *" $1 "*) ;; *) return 1 ;; esac }
is_lan() { case " $lan " in *" $1 "*) ;; *) return 1 ;; esac }
is_link() { case " $interfaces " in *" $1 "*) ;; *) return 1 ;; esac }
# Does the link carry family 4 or 6?
carries() { eval "[ \"\$L$1_gw$2\" != off ]"; }

link_use() {
	eval "l_name=\$L$1_name l_if=\$L$1_if l_table=\$L$1_table l_tname=\$L$1_tname l_gw4=\$L$1_gw4 l_gw6=\$L$1_gw6
		l_nat4=\$L$1_nat4 l_nat6=\$L$1_nat6 l_address=\$L$1_address l_fweight=\$L$1_fweight
		l_mark=\$L$1_mark l_settled=\$L$1_settled l_prefixes=\$L$1_prefixes"
}

# The links of one interface that carry a family
links_of() {
	found=
	for one in $links; do
		eval "[ \"\$L${one}_if\" = \"\$1\" ]" && carries "$one" "$2" && found="$found $one"
	done
	echo "${found# }"
}

policy_parse() {
	links='' interfaces='' shared='' lan='' helpers='' have4=0 have6=0 offload=no version='' weightless=''
	while read -r key rest; do
		# shellcheck disable=SC2086
		set -- $rest
		case $key in
		version) version=$1 ;;
		mask)
			mask=$(hex32 "$1") not_mask=$(hex32 $((~$1)))
			settled=$(hex32 "$3") waiting=$(hex32 "$4") main=$(hex32 "$5") reject=$(hex32 "$6")
			;;
		queue) queue_first=$1 queue_last=$(($1 + $2 - 1)) ;;
		fallback) fallback=$1 ;;
		local) local_traffic=$1 ;;
		feedback) feedback=$1 ;;
		offload) offload=$1 ;;
		ip-forward) ip_forward=$1 ;;
		source-limit) source_limit=$1 ;;
		preference) preference=$1 ;;
		run-directory) policy_run=$rest ;;
		config-file) config_file=$rest ;;
		checksum) checksum=$1 ;;
		checksum-weightless) weightless=$1 ;;
		helper) helpers="$helpers $1" ;;
		lan) lan="$lan $1" ;;
		link) policy_link "$@" ;;
		esac
	done
	[ "$version" = 1 ] || die "$binary speaks version '$version' of the rules records, this script speaks 1"
	[ -n "$links" ] || die "records of $binary: no link"
}

# Read the configuration. Fails with the daemon's own messages on stderr.
policy_read() {
	find_binary || {
		echo "nfq-balancer-rules: nfq-balancer is neither beside this script nor in PATH (NFQB_BINARY names it)" >&2
		return 1
	}
	records=$("$binary" -c "$config" -n --print=rules) || return 1
	policy_take
}

# From `records` to variables
policy_take() {
	set -f
	policy_parse <<-END
		$records
	END
	set +f
	use_run_directory "$policy_run"
}

# How the current link (l_*) translates a family: none, masquerade or an address. On
# a shared interface the kernel could not know which of the router's addresses to
# take, so the link's own is named.
nat_of() {
	eval "nat=\$l_nat$1"
	[ "$nat" = masquerade ] && is_shared "$l_if" || return 0
	case $1$l_address in 4*.* | 6*:*) nat=$l_address ;; esac
}

# ---- the fallback's weights ----

# The links that carry a family
carriers() {
	found=
	for one in $links; do carries "$one" "$1" && found="$found $one"; done
	echo "${found# }"
}

# `weights` := "id:weight ..." of these links, without common factor; `total` :=
# their sum. A link whose interface is absent or down now takes part only if all
# are: the fallback may cost balance, not connections.
weights_of() {
	weights='' spare='' total=0
	for one in "$@"; do
		eval "one_weight=\$L${one}_fweight one_if=\$L${one}_if"
		[ "$one_weight" -gt 0 ] || continue
		spare="$spare $one:$one_weight"
		! interface_ready "$one_if" || weights="$weights $one:$one_weight"
	done
	weights=${weights:-$spare}
	factor=0
	for pair in $weights; do
		a=$factor b=${pair#*:}
		while [ "$b" -ne 0 ]; do
			c=$((a % b)) a=$b b=$c
		done
		factor=$a
	done
	reduced=
	for pair in $weights; do
		reduced="$reduced ${pair%:*}:$((${pair#*:} / factor))"
		total=$((total + ${pair#*:} / factor))
	done
	weights=$reduced
}

# `total` ids in the order of a smooth weighted round robin over `weights`: no link
# gets all of its turns in a row
interleave() {
	echo "$weights" | tr ' ' '\n' | awk -F: -v total="$total" '
		NF == 2 { id[++n] = $1; weight[n] = $2 }
		END {
			for (turn = 0; turn < total; turn++) {
				best = 1
				for (i = 1; i <= n; i++) {
					value[i] += weight[i]
					if (value[i] > value[best]) best = i
				}
				value[best] -= total
				print id[best]
			}
		}'
}

# The fixed number of slots that nftables' fallback deals flows from (SHARES_SLOTS of policy/shares.h)
SLOTS=240

# `weights` and `total` as numbers of SLOTS slots: by largest remainder, one at least. The
# daemon computes the same (policy/shares.c), so that it changes nothing while nothing has changed.
apportion() {
	weights=$(echo "$weights" | tr ' ' '\n' | awk -F: -v slots="$SLOTS" '
		NF == 2 { id[++n] = $1; weight[n] = $2; sum += $2 }
		END {
			room = slots
			do {
				again = 0
				for (i = 1; i <= n; i++)
					if (!(i in got) && weight[i] * room < sum) { got[i] = 1; room--; sum -= weight[i]; again = 1 }
			} while (again)
			open = room
			for (i = 1; i <= n; i++) {
				if (i in got) continue
				got[i] = int(weight[i] * room / sum)
				over[i] = weight[i] * room - got[i] * sum
				open -= got[i]
			}
			for (; open > 0; open--) {
				best = 0
				for (i = 1; i <= n; i++)
					if (i in over && (!best || over[i] > over[best])) best = i
				got[best]++
				delete over[best]
			}
			for (i = 1; i <= n; i++) printf " %s:%d", id[i], got[i]
		}')
	total=$SLOTS
}

# IPv6 without NAT: a source may only use the links that route its prefix.
# `prefixes6` := all prefixes, the longest first; prefix6_links_<n> := the links for
# sources in the n-th; `anywhere6` := links that any source may use (NAT).
fallback6_plan() {
	anywhere6=''
	pairs=
	for one in $(carriers 6); do
		eval "one_nat=\$L${one}_nat6 one_prefixes=\$L${one}_prefixes"
		if [ "$one_nat" != none ]; then
			anywhere6="$anywhere6 $one"
		elif [ "$one_prefixes" != - ]; then
			for prefix in $(echo "$one_prefixes" | tr , ' '); do pairs="$pairs $prefix=$one"; done
		fi
	done
	prefixes6=$(echo "$pairs" | tr ' ' '\n' | sed -n 's/=.*//p' | sort -u | sort -t / -k 2,2nr)
	number=0
	for prefix in $prefixes6; do
		number=$((number + 1))
		members=
		for pair in $pairs; do
			prefix6_covers "${pair%=*}" "$prefix" && members="$members ${pair#*=}"
		done
		eval "prefix6_links_$number=\"\$members \$anywhere6\""
	done
}

# The first bits of an IPv6 address as a string of 0 and 1
bits6() {
	echo "$1" | awk -F/ '{
		split($1, half, "::"); left = split(half[1], a, ":"); right = split(half[2], b, ":")
		for (i = 1; i <= 8; i++) word[i] = i <= left ? a[i] : i > 8 - right ? b[i - 8 + right] : "0"
		for (i = 1; i <= 8; i++) { w = substr("0000" tolower(word[i]), length(word[i]) + 1); all = all w }
		for (i = 1; i <= 32; i++) {
			v = index("0123456789abcdef", substr(all, i, 1)) - 1
			bits = bits int(v / 8) % 2 int(v / 4) % 2 int(v / 2) % 2 v % 2
		}
		print substr(bits, 1, $2)
	}'
}

# Does the first prefix contain the second?
prefix6_covers() {
	[ "$1" != "$2" ] || return 0
	inner=$(bits6 "$2")
	case $inner in "$(bits6 "$1")"*) return 0 ;; esac
	return 1
}

# Where connections that need a helper begin: "protocol:port ..."
helper_ports() {
	case $1 in
	ftp) echo tcp:21 ;;
	tftp) echo udp:69 ;;
	irc) echo tcp:6667 ;;
	sip) echo udp:5060 tcp:5060 ;;
	pptp) echo tcp:1723 ;;
	sane) echo tcp:6566 ;;
	amanda) echo udp:10080 ;;
	snmp) echo udp:161 ;;
	netbios-ns) echo udp:137 ;;
	Q.931) echo tcp:1720 ;;
	RAS) echo udp:1719 ;;
	*) die "helper '$1': no default port known for it" ;;
	esac
}

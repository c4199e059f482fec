# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh

# The host's predictions: a line `seed <number>`, then `<times listed> <name> <why not>` for each name of code.
predictions=$KO_traceability
seed=$(sed -n '1s/^seed //p' "$predictions")
echo "drawn with seed $seed; the same seed draws the same functions again"

# collate: `<listed or unlisted> <times seen> <times predicted> <name> <why>` for each name of code, in the order of the
# names. Functions of modules have a second field in ftrace's list and a fourth in kallsyms, and are left out; so is
# the padding before functions, which outnumbers everything else that is not listed.
collate() {
	cat /sys/kernel/tracing/available_filter_functions >/tmp/list || return
	cat /proc/kallsyms >/tmp/kallsyms || return
	awk '
		FNR == 1 { file++ }
		file == 1 && FNR > 1 {
			name = $2
			predicted[name] = $1
			$1 = $2 = ""
			why[name] = substr($0, 3)
		}
		file == 2 && NF == 1 { seen[$1]++ }
		file == 3 && NF == 3 && $2 ~ /^[tTwW]$/ && $3 !~ /^__(pfx|cfi)_/ { code[$3] = 1 }
		END {
			for (name in seen) code[name] = 1
			for (name in code)
				print (name in seen) ? "listed" : "unlisted", seen[name] + 0,
					(name in predicted) ? predicted[name] : "none", name, why[name]
		}
	' "$predictions" /tmp/list /tmp/kallsyms | sort -k4 >/tmp/all
}

# drawn <kind>: 500 of a kind, by the seed.
drawn() {
	grep "^$1 " /tmp/all | awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand(), $0 }' |
		sort -n | head -n 500 | cut -d ' ' -f 2-
}

# agrees <lines>: at least 995 of 1000 lines were predicted as they were seen; the others are printed.
agrees() {
	awk '
		$2 == $3 { agreed++; next }
		{ print }
		END {
			printf "%d of %d agree, %.3f %%\n", agreed, NR, NR ? 100 * agreed / NR : 0
			exit NR == 0 || agreed * 1000 < NR * 995
		}
	' "$1"
}

check "ftrace's list and kallsyms can be read" collate || exit
drawn listed >/tmp/sample
check "500 functions of ftrace's list were drawn" equals 500 "$(grep -c . /tmp/sample)"
drawn unlisted >>/tmp/sample
check "500 names of code that are not in it were drawn" equals 1000 "$(grep -c . /tmp/sample)"
check "at least 99.5 % of the 1000 drawn are as predicted" prints drawn agrees /tmp/sample
tail -n 1 "$EVIDENCE/drawn"
check "at least 99.5 % of all names of code are as predicted" prints all agrees /tmp/all
tail -n 1 "$EVIDENCE/all"

# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

# figure <name>: instructions of one call, by the clock that counts them; the second of two runs.
figure() {
	cat /proc/klp_bench >/dev/null
	read -r _time _result </proc/klp_bench
	echo "$1 $((_time / 100000)).$(printf %05d $((_time % 100000)))" | tee -a "$EVIDENCE/figures"
	echo "$_result" >"/tmp/result.$1"
}
# replaced_by <file> <name>
replaced_by() {
	_lp=$(module_of "$1")
	check "$2: the replacement is loaded" insmod "$1" || exit
	check "$2: the transition ends" wait_until 60 settled "$_lp"
	phase "$2"
	check "$2: calls are redirected" grep -q "^klp_bench_target .*klp_ftrace_handler" $TRACED
	figure "$2"
	check "$2: it computes the same" same /tmp/result.original "/tmp/result.$2"
	echo 0 >"$PATCHES/$_lp/enabled"
	check "$2: it is gone" wait_until 60 absent "$PATCHES/$_lp"
	rmmod "$_lp"
}

mkdir -p "$EVIDENCE"
rm -f "$EVIDENCE/figures"
check "the module comes" insmod "$KO_module_klp_bench" || exit
figure original
replaced_by "$KO_module_klp_bench_c" c
replaced_by "$KO_bench_call" rust
replaced_by "$KO_bench_original" around
# more <number>: a call through the original has at most so many instructions more than one of the replacement in C.
more() {
	awk -v most="$1" '{ figure[$1] = $2 } END { print figure["around"], figure["c"]; exit !(figure["c"] > 0 && figure["around"] - figure["c"] <= most) }' \
		"$EVIDENCE/figures"
}
check "the call of the original costs at most 10 instructions more than the replacement in C" more 10
rmmod klp_bench

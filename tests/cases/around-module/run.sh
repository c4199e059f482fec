# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

lp=$(module_of "$KO_around_module")
seed=/sys/module/klp_around/parameters/seed
SEEDS="1 2 7 4000000001"

# answers <file>: what the module says for each seed.
answers() {
	for _seed in $SEEDS; do
		echo $_seed >$seed && cat /proc/klp_around || return
	done >"$1"
}
# as_original: the module's answers are those of the kernel's own code.
as_original() {
	answers /tmp/answers && same "$EVIDENCE/original" /tmp/answers
}
# as_patched: the first number is one more, the last one is doubled; the others, to which each argument adds, are as before.
as_patched() {
	awk '{ print $1 + 1, $2, $3, $4, $5 * 2 }' "$EVIDENCE/original" >/tmp/patched
	answers /tmp/answers && same /tmp/patched /tmp/answers
}
# calls_of <number> <seed>: reading for this seed runs so many of the two originals.
calls_of() {
	echo "$2" >$seed && read -r _before </sys/module/klp_around/parameters/calls &&
		cat /proc/klp_around && read -r _after </sys/module/klp_around/parameters/calls &&
		equals "$1" $((_after - _before))
}
# guarded: for seed 0 the replacement answers without the original.
guarded() {
	calls_of 1 0 && reads "1 2 3 4 0" /proc/klp_around
}

check "the module comes" insmod "$KO_module_klp_around" || exit
answers /tmp/original
keep original /tmp/original
check "each seed has an answer of its own" equals 4 "$(sort -u /tmp/original | wc -l)"
check "both originals run" calls_of 2 0

phase present
check "the patch is loaded over the module" kpatch load "$KO_around_module" || exit
check "all arguments reach the originals, and the results come back changed" as_patched
check "both originals run, once a call" calls_of 2 1
check "the guard answers in the place of the original" guarded
check "the module goes while it is patched" rmmod klp_around
check "the object is not patched" attribute "$lp" klp_around/patched 0
case $RELEASE in
# Until 6.3 the kernel does not clear a patch's relocations when the module that they are for leaves (case module-object).
6.1.*) check "the module cannot come again" fails insmod "$KO_module_klp_around" ;;
*)
	check "the module comes again" insmod "$KO_module_klp_around"
	check "its originals are called" as_patched
	check "the guard answers" guarded
	check "the module goes" rmmod klp_around
	;;
esac
check "the patch is unloaded" kpatch unload "$lp"

phase absent
check "the patch is loaded without the module" kpatch load "$KO_around_module" || exit
check "the module comes for the first time" insmod "$KO_module_klp_around"
check "its originals are called" as_patched
check "the guard answers" guarded
check "the patch is unloaded" kpatch unload "$lp"
check "the module answers as before" as_original
check "both originals run" calls_of 2 0
check "the module goes" rmmod klp_around
check "nothing of the patch is left" unloaded "$lp"

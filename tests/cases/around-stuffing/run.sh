# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

lp=$(module_of "$KO_around")

# seen <what>: how often the readers saw it.
seen() {
	grep -cF "$1" "$EVIDENCE/seen"
}

keep original /proc/cmdline
check "the kernel tracks the depth of calls" reads "Mitigation: Stuffing" /sys/devices/system/cpu/vulnerabilities/retbleed || exit
rm -f /tmp/stop
workload --rest 1000 2 /tmp/stop read /proc/cmdline >/tmp/seen &
load=$!
for round in 1 2; do
	check "the patch is loaded" kpatch load "$KO_around" || exit
	# The replacement of fifo_open ends in a jump to its original, which is no call. rust-6.12 is built without /proc/kcore.
	[ "$KERNEL" = rust-6.12 ] || check "the call of an original is counted" equals "counted" "$(./calls "$lp")"
	{ cat "$EVIDENCE/original"; echo "after the original"; } >/tmp/expected
	check "the original answers, and the replacement's line follows" same /tmp/expected /proc/cmdline
	check "the patch is unloaded" kpatch unload "$lp"
	check "the original answers" same "$EVIDENCE/original" /proc/cmdline
done
touch /tmp/stop
check "the readers end" wait $load
keep seen /tmp/seen
cat /tmp/seen
# Each answer is printed with its count before it; that of the replacement has a second line.
check "the readers saw the original's answer and the replacement's, and no other" equals "2 1" "$(seen "$(cat "$EVIDENCE/original")") $(seen "after the original")"
check "and nothing else" equals 3 "$(wc -l <"$EVIDENCE/seen")"

# SPDX-License-Identifier: GPL-2.0-or-later
# Two functions that change together, called by threads all the time: never seen half changed. REST: microseconds that a
# thread rests between its turns.
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

# seen <what>: how often.
seen() {
	sed -n "s/^\([0-9]*\) $1\$/\1/p" /tmp/seen
}
load_mod "$KO_module_klp_halves"
check "before: both halves are old" reads "old old" /proc/klp_halves
rm -f /tmp/stop
workload --rest $REST 4 /tmp/stop read /proc/klp_halves >/tmp/seen &
load=$!
threads() {
	equals 5 "$(ls /proc/$load/task | wc -l)"
}
check "4 threads read" wait_until 30 threads
for round in 1 2 3; do
	load_lp "$KO_halves"
	check "both halves are new" reads "new new" /proc/klp_halves
	disable_lp "$KO_halves"
	unload_lp "$KO_halves"
	check "both halves are old" reads "old old" /proc/klp_halves
done
touch /tmp/stop
wait $load
keep seen /tmp/seen
cat /tmp/seen
check "both old were seen" [ "$(seen 'old old')" -gt 0 ]
check "both new were seen" [ "$(seen 'new new')" -gt 0 ]
check "nothing else was seen" equals 2 "$(grep -c . /tmp/seen)"

# The same readers see a mix where there is one: of a patch that changes one of the two functions.
rm -f /tmp/stop
workload --rest $REST 4 /tmp/stop read /proc/klp_halves >/tmp/seen &
load=$!
load_lp "$KO_halves_inner"
check "one half is new" reads "old new" /proc/klp_halves
touch /tmp/stop
wait $load
check "the readers saw the mix" contains "old new" /tmp/seen
disable_lp "$KO_halves_inner"
unload_lp "$KO_halves_inner"
unload_mod klp_halves

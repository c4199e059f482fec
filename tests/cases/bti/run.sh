# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

keep original /proc/cmdline
dmesg >/tmp/boot.log
check "the processor has branch target identification, and the kernel uses it" contains "Branch Target Identification" /tmp/boot.log
check "and pointer authentication" contains "ddress authentication" /tmp/boot.log

check "kpatch load succeeds" kpatch load "$KO_cmdline" || exit
module=$(module_of "$KO_cmdline")
phase patched
check "/proc/cmdline comes from the replacement" reads "patched from Rust" /proc/cmdline
check "calls go through the livepatch trampoline" redirected cmdline_proc_show
check "kpatch unload succeeds" kpatch unload "$module" || exit
check "the original is back" same "$EVIDENCE/original" /proc/cmdline

check "a fix that calls what is not exported is loaded" kpatch load "$KO_peek" || exit
module=$(module_of "$KO_peek")
check "it shows the kernel's own variable" contains "saved_command_line: " /proc/version
check "it called the kernel's own function" contains "nr_processes: " /proc/version
check "kpatch unload succeeds again" kpatch unload "$module"
check "nothing of it is left" unloaded "$module"

check "a fix that calls originals is loaded" kpatch load "$KO_around" || exit
module=$(module_of "$KO_around")
{ cat "$EVIDENCE/original"; echo "after the original"; } >/tmp/expected
check "the original answers, and the replacement's line follows" same /tmp/expected /proc/cmdline
mkfifo /tmp/pipe
cat /tmp/pipe >/tmp/answer &
reader=$!
check "a reader sleeps in the original" wait_until 20 asleep_in $reader fifo_open
echo "words for the reader" >/tmp/pipe
wait $reader
check "it comes back from there, with its answer" reads "words for the reader" /tmp/answer
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back" same "$EVIDENCE/original" /proc/cmdline

check "a module comes" insmod "$KO_module_klp_around" || exit
cat /proc/klp_around >/tmp/before
check "a fix that calls its originals is loaded" kpatch load "$KO_around_module" || exit
awk '{ print 1, 2, 3, 4, $5 * 2 }' /tmp/before >/tmp/expected
check "the guard answers for the one, the original of the other with twice its result" same /tmp/expected /proc/klp_around
echo 1 >/sys/module/klp_around/parameters/seed
check "both originals answer" equals "51 79 1707 29 8" "$(cat /proc/klp_around)"
check "kpatch unload succeeds" kpatch unload "$(module_of "$KO_around_module")"
check "the module goes" rmmod klp_around

# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

below=$(module_of "$KO_stacked_below")
above=$(module_of "$KO_around_above")

# adds <line>: /proc/cmdline has what the original prints, byte for byte, and only this line behind it.
adds() {
	{ cat "$EVIDENCE/original"; echo "$1"; } >/tmp/expected
	same /tmp/expected /proc/cmdline
}

keep original /proc/cmdline
check "the lower patch is loaded" kpatch load "$KO_stacked_below" || exit
check "it calls the original" adds "after the original"
check "the upper patch is loaded" kpatch load "$KO_around_above" || exit
check "its original is the kernel's function, not the lower patch" adds "above"
check "the lower patch is still there" listed "$below" enabled

check "the lower patch is unloaded first" kpatch unload "$below"
check "the upper one answers as before" adds "above"
check "the one that was below is loaded on top" kpatch load "$KO_stacked_below"
check "its original is the kernel's function, not the patch below" adds "after the original"
check "the top is unloaded" kpatch unload "$below"
check "the one below answers again" adds "above"
check "the last one is unloaded" kpatch unload "$above"
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/cmdline
check "nothing of the first one is left" unloaded "$below"
check "nothing of the second one is left" unloaded "$above"

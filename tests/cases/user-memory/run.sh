# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_user_memory")

./copies >/tmp/original
check "the original refuses the options" contains "struct: EINVAL" /tmp/original
check "kpatch load succeeds" kpatch load "$KO_user_memory" || exit
./copies >/tmp/patched
keep patched /tmp/patched
check "each copy has its value, and each bad address is EFAULT" same copies.expected /tmp/patched
check "kpatch unload succeeds" kpatch unload "$module"
./copies >/tmp/after
check "the original is back" same /tmp/original /tmp/after
check "nothing of the patch is left" unloaded "$module"

# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_messages")

# texts WORD: the messages that begin with the word, with their levels (dmesg -r), without word and time.
texts() {
	dmesg -r | sed -n "s/^<\([0-9]*\)>\[[^]]*\] $1: /\1 /p"
}

check "kpatch load succeeds" kpatch load "$KO_messages" || exit
texts plain >/tmp/plain
texts named >/tmp/named
check "every message is there" equals 44 "$(wc -l </tmp/plain)"
check "messages with arguments read as those with names" same /tmp/named /tmp/plain
check "the least number has its sign and all its digits" contains "{-9223372036854775808}, 100%" /tmp/plain
check "the largest number has all its digits" contains "{18446744073709551615}, 100%" /tmp/plain
check "an empty text is empty" contains "{}, 100%" /tmp/plain
check "a text is no format" contains "{%s %d %n}, 100%" /tmp/plain
check "a number in base 16 has the width of its type" contains "ff 0xff" /tmp/plain
check "kpatch unload succeeds" kpatch unload "$module"
check "nothing of the patch is left" unloaded "$module"

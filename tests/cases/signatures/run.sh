# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

keep cmdline /proc/cmdline
keep version /proc/version
check "the kernel asks for signatures" reads Y /sys/module/module/parameters/sig_enforce

unsigned=$(module_of "$KO_cmdline")
check "a module without a signature is refused" fails prints refused kpatch load "$KO_cmdline"
check "the reason names signatures" contains "ignature" "$EVIDENCE/refused"
check "nothing of it is there" unloaded "$unsigned"
check "the kernel answers as before" same "$EVIDENCE/cmdline" /proc/cmdline

module=$(module_of "$KO_signed_peek")
check "the signed module is loaded" kpatch load "$KO_signed_peek" || exit
check "it acts" contains "saved_command_line: " /proc/version
dmesg >/tmp/log
check "the kernel found its signature good" lacks "$module: module verification failed" /tmp/log
check "it is unloaded" kpatch unload "$module"
check "the kernel answers itself again" same "$EVIDENCE/version" /proc/version
check "nothing of it is left" unloaded "$module"

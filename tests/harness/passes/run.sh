# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
phase first
check "the collected file is there" contains "Linux version" "$(collected /proc/version)"
check "the artifact is there" contains "artifact" "$KO_note_some_txt"
check "a text can be waited for" wait_until 1 true
check "a command that must fail does" fails false
check "file systems are mounted" test -e /sys/kernel/tracing/trace -a -d /sys/kernel/debug/tracing -a -c /dev/null
kernel_log_mark
echo "words for the log" >/dev/kmsg
kernel_log_since >/tmp/log
check "the log since the mark can be read" contains "words for the log" /tmp/log

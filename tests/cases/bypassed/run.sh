# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

FUNCTION=security_sb_statfs
module=$(module_of "$KO_statfs_denied")

# statfs: what statfs() of /proc answers.
statfs() {
	stat -f /proc 2>&1 | grep -oE "Operation not permitted|Permission denied|Block size"
}
# settled_link: the program's link has its number, which it gets behind the site of ftrace.
settled_link() {
	cat /proc/$worker/fdinfo/* 2>/dev/null | grep -q "^link_id:.*[1-9]"
}
# attach <kind>, detach: a BPF program on the function. 6.1 has a tab behind the flags.
attach() {
	rm -f /tmp/stop
	workload 1 /tmp/stop "$1" $FUNCTION >/tmp/attached 2>&1 &
	worker=$!
	wait_until 30 grep -q "^$FUNCTION .* D[[:space:]]" $TRACED && wait_until 30 settled_link && return
	cat /tmp/attached $TRACED
	return 1
}
detach() {
	touch /tmp/stop
	wait $worker
}

check "before: the original answers" equals "Block size" "$(statfs)"
check "it is loaded" ends 0 load kpatch load "$KO_statfs_denied" || exit
check "nothing is said of other programs" lacks "place of" "$EVIDENCE/load"
check "the replacement answers" equals "Operation not permitted" "$(statfs)"
check "status has nothing against it" ends 0 status kpatch status
check "and could look at all" lacks "Not checked" "$EVIDENCE/status"
check "and saw nobody" lacks "Bypassed" "$EVIDENCE/status"

phase looks
check "a program that only looks is attached" attach fentry
check "the replacement answers still" equals "Operation not permitted" "$(statfs)"
check "status says nothing of it" ends 0 status-fentry kpatch status --check
check "check says that it goes on" ends 0 check-fentry kpatch check "$KO_statfs_denied"
check "in these words" contains "it goes on, but sees the call" "$EVIDENCE/check-fentry"
detach

phase answers
check "one that answers is attached" attach fmod_ret
check "the fix is off" equals "Permission denied" "$(statfs)"
check "status is a warning" ends 1 status-fmod_ret kpatch status --check
check "it names function and kind" contains "can answer in the place of $FUNCTION (fmod_ret)" "$EVIDENCE/status-fmod_ret"
check "check says so" ends 0 check-fmod_ret kpatch check "$KO_statfs_denied"
check "and does not say that it goes on" lacks "it goes on" "$EVIDENCE/check-fmod_ret"
detach
check "without it the fix is on again" equals "Operation not permitted" "$(statfs)"
check "and status is well" ends 0 status-after kpatch status --check
check "it is unloaded" kpatch unload "$module"

phase before
check "the program is there before the patch" attach fmod_ret
check "load succeeds" ends 0 load-fmod_ret kpatch load "$KO_statfs_denied"
check "and names it" contains "can answer in the place of $FUNCTION (fmod_ret)" "$EVIDENCE/load-fmod_ret"
check "the fix is off" equals "Permission denied" "$(statfs)"
detach
check "without it the fix is on" equals "Operation not permitted" "$(statfs)"
check "it is unloaded" kpatch unload "$module"
check "the original answers" equals "Block size" "$(statfs)"
check "nothing of the patch is left" unloaded "$module"

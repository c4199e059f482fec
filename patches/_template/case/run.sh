# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_{{variable}}")

phase before
# Show here what is wrong without the fix.
check "before: calls are not redirected" not_redirected {{function}}

check "kpatch load succeeds" kpatch load "$KO_{{variable}}" || exit
phase patched
# Show here what is right with it.
check "calls go through the livepatch trampoline" redirected {{function}}

check "kpatch unload succeeds" kpatch unload "$module"
phase reverted
check "calls are no longer redirected" not_redirected {{function}}
check "nothing of the patch is left" unloaded "$module"

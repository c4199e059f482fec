# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_tripwire")
counter=/sys/module/$module/parameters/rdwr_open
fifo=/tmp/fifo
path='open of a pipe with O_RDWR, which is 100% "refused"'

# try: opens the pipe as the fix refuses it.
try() {
	true <>$fifo
}

# lines: the log's lines about tries.
lines() {
	kernel_log_since | grep "tripwire rdwr_open: "
}

mkfifo $fifo || exit
check "the original opens a pipe for reading and writing" try
check "the module is loaded" kpatch load "$KO_tripwire" || exit
phase armed
kernel_log_mark
check "the counter starts with 0" reads 0 $counter
check "its mode is 444" equals 444 "$(stat -c %a $counter)"
check "it cannot be written" fails sh -c "echo 7 >$counter"
check "a try is refused" fails sh -c ": <>$fifo; true"
sh -c "echo \$\$ >/tmp/pid; exec true <>$fifo"
check "the counter says 2 after another one" reads 2 $counter
lines >/tmp/lines
keep lines /tmp/lines
check "the log has two lines" equals 2 "$(wc -l </tmp/lines)"
check "with module, task, pid and the guarded path" \
	contains "$module: tripwire rdwr_open: sh[$(cat /tmp/pid)] tried: $path" /tmp/lines
check "kpatch status has the counter" prints status kpatch status
check "of each tripwire" grep -qx "Tripwire: *rdwr_open of $module: 2 tries: $path" "$EVIDENCE/status"
check "also 0" grep -q "^Tripwire: *never of $module: 0 tries: " "$EVIDENCE/status"
kpatch status --json >/tmp/json
check "for programs too" grep -q '"count": 2' /tmp/json
check "the metrics have it" prints metrics kpatch export --format openmetrics
check "as a counter" contains "kpatch_tripwire_tries_total{module=\"$module\",tripwire=\"rdwr_open\"} 2" "$EVIDENCE/metrics"
kpatch info "$KO_tripwire" >/tmp/info
check "kpatch info names the tripwire" grep -qx "tripwire: *rdwr_open: $path" /tmp/info
check "an open that is allowed is not counted" sh -c "cat $fifo & echo word >$fifo; wait"
check "so the counter still says 2" reads 2 $counter

phase flood
# In one process, without a pause.
sh -c 'n=0; while [ $n -lt 400 ]; do { true <>'$fifo'; } 2>/dev/null; n=$((n + 1)); done'
check "each of many tries is counted" reads 402 $counter
count=$(lines | wc -l)
check "the log has fewer lines: $count" test "$count" -lt 200
check "it is unloaded" kpatch unload "$module" || exit
check "the original opens the pipe again" try

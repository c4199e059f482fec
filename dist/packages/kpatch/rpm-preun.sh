# %preun of kpatch. Stopping kpatch.service unloads nothing.
if [ "$1" -eq 0 ]; then
    units='kpatch.service kpatch-confirm.service kpatch-settle.path kpatch-settle.service'
    # shellcheck disable=SC2086 # one argument for each unit
    systemctl --no-reload disable $units || true
    if [ -d /run/systemd/system ]; then
        # shellcheck disable=SC2086
        systemctl stop $units || true
    fi
fi
exit 0

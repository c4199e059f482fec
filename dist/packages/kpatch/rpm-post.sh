# %post of kpatch. Units are enabled at the first installation only, so that a `systemctl disable` stays.
if [ "$1" -eq 1 ]; then
    systemctl --no-reload enable kpatch.service kpatch-confirm.service kpatch-settle.path || true
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    if [ "$1" -eq 1 ]; then
        systemctl start kpatch-confirm.service kpatch-settle.path || true
    fi
fi
exit 0

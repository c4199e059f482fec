# prerm of kpatch. Stopping kpatch.service unloads nothing.
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop kpatch-settle.path kpatch-settle.service kpatch-confirm.service kpatch.service >/dev/null || true
fi

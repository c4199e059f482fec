# postrm of kpatch.
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper purge kpatch.service kpatch-confirm.service kpatch-settle.path >/dev/null || true
fi

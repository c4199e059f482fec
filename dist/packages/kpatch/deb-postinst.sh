# postinst of kpatch. Units are enabled at the first installation only: deb-systemd-helper remembers a `systemctl disable`.
case "$1" in
    configure | abort-upgrade | abort-remove | abort-deconfigure)
        for unit in kpatch.service kpatch-confirm.service kpatch-settle.path; do
            deb-systemd-helper unmask "$unit" >/dev/null || true
            if deb-systemd-helper --quiet was-enabled "$unit"; then
                deb-systemd-helper enable "$unit" >/dev/null || true
            else
                deb-systemd-helper update-state "$unit" >/dev/null || true
            fi
        done
        if [ -d /run/systemd/system ]; then
            systemctl --system daemon-reload >/dev/null || true
            deb-systemd-invoke start kpatch-confirm.service kpatch-settle.path >/dev/null || true
        fi
        ;;
esac

# %postun of kpatch.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
exit 0

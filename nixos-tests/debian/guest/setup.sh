# Runs once, in a chroot without systemd, while the image is built.
set -eu
echo server > /etc/hostname
echo "/dev/vda / ext4 noatime 0 1" > /etc/fstab
: > /etc/machine-id # filled at the first boot
rm -f /etc/resolv.conf # may be that of the machine that builds
passwd -d root >/dev/null
systemctl --quiet enable systemd-networkd.service backdoor.service
systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service fstrim.timer
systemctl --quiet mask serial-getty@ttyS0.service serial-getty@hvc0.service getty@tty1.service
systemctl --quiet set-default multi-user.target

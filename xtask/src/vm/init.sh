#!/bin/busybox sh
# PID 1 of a guest: runs the live tests one by one, each for itself, and tells the host of them on the second serial
# line. The first one is the kernel's console. Lines beginning `vm: ` are for xtask (verdict.rs), others belong to the
# test that runs.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/usr/bin HOME=/root TRACER_BIN=/opt/tracer CARGO_MANIFEST_DIR=/tmp LIVE_GLOBAL_SYSCTL=1 LIVE_CLOCK=1
. /opt/environment

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ln -s /proc/self/fd /dev/fd
hostname guest
ulimit -n 65536
ip link set lo up

exec </dev/null >/dev/ttyS1 2>&1
echo "vm: kernel $(uname -r)"
for module in /opt/modules/*.ko; do
    [ -e "$module" ] && insmod "$module"
done

# The view is the same on every kernel, and its load too much for a translated processor.
# shellcheck disable=SC2046 # no option at all, or one
/opt/live --list --format terse | sed -n 's/: test$//p' | grep -v '^tui::' | grep -F $(cat /opt/match) -f /opt/filter |
    awk "NR % $OF == $PART" >/tmp/names

while read -r LIVE_HOOKS; do
    export LIVE_HOOKS
    echo "vm: family $LIVE_HOOKS"
    # Whether the kernel takes the programs at all, before the first test waits for it.
    echo "vm: hooks"
    timeout -s KILL 120 /opt/tracer doctor --json --hooks "$LIVE_HOOKS"
    ended=$?
    echo "vm: hooks ended $ended"
    [ $ended = 0 ] || continue
    while read -r name; do
        echo "vm: test $name"
        timeout -s KILL 600 /opt/live --exact "$name" --show-output </dev/null
        echo "vm: ended $?"
    done </tmp/names
done </opt/hooks
echo "vm: done"
poweroff -f

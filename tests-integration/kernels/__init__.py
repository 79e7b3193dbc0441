"""Other kernels than the one that runs the tests: Debian's, in QEMU, judged like our own.

The crash images of `tests-integration/crash` come from the machine's own kernel. Here the same
workloads run in guests with the kernels of three Debian releases, while QEMU's ``blklogwrites``
driver records from outside what reaches the disk; the judge then looks at the images as ever.

    debian_kernels  fetching a kernel and its modules, without installing it
    initramfs       the few files with which it boots, until it stands on the host's root
    guest           running a job in a guest, and ending it whatever happens
    disks           the disks of a guest, and QEMU's log of them as crashlab's records
    plan            what is recorded on each kernel
    recorder        what runs in the guest: a workload after the other, with marks
    guest_judge     what judges in the guest, for filesystems that the host does not have
    laboratory      all of that for one kernel

`docs/crash-testing.md` names the kernels and says what this cannot show.
"""

//! Opening a file to write to it in a folder that is shared. Whoever may write to a folder with the sticky bit (/tmp) may put a link or a file
//! there under the name that root is about to use. The kernel's fs.protected_symlinks and fs.protected_regular guard
//! against that where they are set; here the same rule holds everywhere: what lies in such a folder counts only if it
//! belongs to us or to the folder's owner. Links on the way to the file are held to it, too.

use std::{
    ffi::OsStr,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

use anyhow::{Result, bail};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
    unistd::geteuid,
};

/// Opens a file to append to it; makes it, with this mode, if it is not there.
pub fn append(path: &Path, mode: u32) -> Result<File> {
    let Some(name) = path.file_name() else {
        bail!("expected the name of a file");
    };
    let folder = folder(path.parent().unwrap_or(Path::new("")))?;
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let open = |flags| openat(&folder, name, flags, Mode::from_bits_truncate(mode));
    // Before it is opened: who made a FIFO of that name would keep us waiting.
    check_entry(folder.as_fd(), name)?;
    let file = match open(flags | OFlag::O_NOFOLLOW) {
        Err(Errno::ELOOP) => {
            // Of a link that passes nobody else can make another one in the meantime.
            check_entry(folder.as_fd(), name)?;
            open(flags)?
        }
        file => {
            let file = file?;
            check(folder.as_fd(), name, &fstat(&file)?)?;
            file
        }
    };
    Ok(File::from(file))
}

/// The folder that a path leads to.
fn folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |from: BorrowedFd<'_>, name: &OsStr, flags| openat(from, name, flags, Mode::empty());
    let start = if path.has_root() { "/" } else { "." };
    let mut here = open(AT_FDCWD, OsStr::new(start), flags)?;
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        here = match open(here.as_fd(), name, flags | OFlag::O_NOFOLLOW) {
            // A link is no folder, either.
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                check_entry(here.as_fd(), name)?;
                open(here.as_fd(), name, flags)?
            }
            next => next?,
        };
    }
    Ok(here)
}

/// Fails if a name in a folder is somebody else's trap. Nothing there is none.
fn check_entry(folder: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(entry) => check(folder, name, &entry),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn check(folder: BorrowedFd<'_>, name: &OsStr, entry: &FileStat) -> Result<()> {
    let folder = fstat(folder)?;
    let mode = Mode::from_bits_truncate(folder.st_mode);
    let shared = mode.contains(Mode::S_ISVTX) && mode.intersects(Mode::S_IWOTH | Mode::S_IWGRP);
    if !shared || [geteuid().as_raw(), folder.st_uid].contains(&entry.st_uid) {
        return Ok(());
    }
    let what = match SFlag::from_bits_truncate(entry.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFLNK => "a link",
        _ => "a file",
    };
    bail!(
        "{} is {what} of uid {} in a folder that others may write to: remove it, or choose a folder of your own",
        Path::new(name).display(),
        entry.st_uid
    );
}

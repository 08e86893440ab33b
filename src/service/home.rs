//! Where the data is kept, and what that means for it.

use std::path::Path;

/// When an answer counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync on a file system that keeps what it is given.
    #[default]
    Synced,
    /// When it is in memory: the file system has nothing else.
    Memory,
}

/// The file system under a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Its type, such as "ext4"; empty: not known.
    pub filesystem: &'static str,
    /// What a sync means on it.
    pub durability: Durability,
}

impl Home {
    /// What holds the directory at `path`.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn of(path: &Path) -> std::io::Result<Home> {
        let magic = u64::try_from(rustix::fs::statfs(path)?.f_type).unwrap_or(0);
        // Some platforms extend the sign of a 32-bit number.
        Ok(Home::with_magic(magic & 0xffff_ffff))
    }

    /// The types by their numbers in `statfs(2)`.
    fn with_magic(magic: u64) -> Home {
        let (filesystem, durability) = match magic {
            0x0000_ef53 => ("ext4", Durability::Synced),
            0x5846_5342 => ("xfs", Durability::Synced),
            0x9123_683e => ("btrfs", Durability::Synced),
            0x2fc1_2fc1 => ("zfs", Durability::Synced),
            0xf2f5_2010 => ("f2fs", Durability::Synced),
            0xca45_1a4e => ("bcachefs", Durability::Synced),
            0x794c_7630 => ("overlayfs", Durability::Synced),
            0x0000_6969 => ("nfs", Durability::Synced),
            0xff53_4d42 | 0xfe53_4d42 => ("cifs", Durability::Synced),
            0x0102_1997 => ("9p", Durability::Synced),
            0x6573_5546 => ("fuse", Durability::Synced),
            0x0102_1994 => ("tmpfs", Durability::Memory),
            0x8584_58f6 => ("ramfs", Durability::Memory),
            _ => ("", Durability::Synced),
        };
        Home { filesystem, durability }
    }
}

#[cfg(test)]
mod tests {
    use crate::service::home::Durability;
    use crate::service::home::Home;
    use std::path::Path;

    #[test]
    fn a_file_system_in_memory_is_told_apart() {
        if Path::new("/dev/shm").is_dir() {
            let home = Home::of(Path::new("/dev/shm")).unwrap();
            assert_eq!(home, Home { filesystem: "tmpfs", durability: Durability::Memory });
        }
        assert_eq!(Home::with_magic(0xef53), Home { filesystem: "ext4", durability: Durability::Synced });
        assert!(Home::of(Path::new("/does/not/exist")).is_err());
    }
}

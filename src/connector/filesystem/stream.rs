//! Files that have one reader: compressed ones, and pipes that have a name.
//!
//! # Invariants
//!
//! 1. A compressed file that ends in the middle is an error that names it; members one after the other are one file.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::connector::gather::{Gather, READ_BYTES};
use crate::connector::{Opening, Read, SequentialReader, SequentialSplit, descriptor};
use crate::error::{JobError, StateError};
use crate::format::Framing;

/// How a file's bytes are packed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
    Deflate,
    /// One that Flink reads and we do not.
    Unknown(&'static str),
}

impl Packing {
    pub(super) fn of(path: &Path) -> Self {
        let suffix = path.extension().unwrap_or_default().to_ascii_lowercase();
        match suffix.to_str() {
            Some("gz" | "gzip") => Packing::Gzip,
            Some("zst" | "zstd") => Packing::Zstd,
            Some("deflate") => Packing::Deflate,
            Some("bz2") => Packing::Unknown("bzip2"),
            Some("xz") => Packing::Unknown("xz"),
            Some("lz4") => Packing::Unknown("lz4"),
            Some("snappy") => Packing::Unknown("snappy"),
            _ => Packing::Plain,
        }
    }

    /// The bytes of the file `path`.
    pub(super) fn unpack(self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        let file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        Ok(match self {
            Packing::Plain | Packing::Unknown(_) => Box::new(file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Deflate => Box::new(ZlibDecoder::new(file)),
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        })
    }
}

/// A compressed file.
#[derive(Debug)]
pub(super) struct PackedSplit {
    pub(super) path: PathBuf,
    pub(super) packing: Packing,
    pub(super) framing: Framing,
}

impl SequentialSplit for PackedSplit {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        let origin = self.origin();
        let failed = |error| JobError::io(origin.clone(), error);
        let mut bytes = self.packing.unpack(&self.path).map_err(failed)?;
        // Nothing can be found in a compressed file but by unpacking what is before it.
        let behind = &mut bytes.by_ref().take(opening.position);
        let passed = io::copy(behind, &mut io::sink()).map_err(failed)?;
        if passed < opening.position {
            let reason = format!(
                "the file unpacked to at least {} bytes when the snapshot was taken, and to {passed} now",
                opening.position
            );
            return Err(StateError::Input { path: origin, reason }.into());
        }
        let gather = Gather::new(self.framing).behind(passed);
        Ok(Box::new(PackedReader { bytes, origin, gather, ended: false }))
    }
}

/// An open compressed file.
struct PackedReader {
    bytes: Box<dyn io::Read + Send>,
    origin: String,
    gather: Gather,
    ended: bool,
}

impl PackedReader {
    /// Unpacks a piece.
    fn fill(&mut self) -> Result<(), JobError> {
        let space = self.gather.space();
        let filled = space.len();
        let read = self.bytes.by_ref().take(READ_BYTES as u64).read_to_end(space);
        match read {
            Ok(_) => self.ended = space.len() == filled,
            Err(error) => {
                let reason = format!("the file is truncated or damaged: {error}");
                return Err(JobError::io(
                    self.origin.clone(),
                    io::Error::new(error.kind(), reason),
                ));
            }
        }
        Ok(())
    }
}

impl SequentialReader for PackedReader {
    fn read(&mut self, _flush: bool) -> Result<Read, JobError> {
        loop {
            if let Some(bad) = self.gather.scan() {
                return Ok(Read::Oversized(bad));
            }
            if self.gather.is_full() {
                return Ok(self.gather.take().map_or(Read::Pending, Read::Records));
            }
            if self.ended {
                return Ok(self.gather.take_rest().map_or(Read::End, Read::Records));
            }
            self.fill()?;
        }
    }

    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn position(&self) -> Option<u64> {
        Some(self.gather.position())
    }
}

/// A named pipe or a device.
#[derive(Debug)]
pub(super) struct PipeSplit {
    pub(super) path: PathBuf,
    pub(super) framing: Framing,
}

impl SequentialSplit for PipeSplit {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn bounded(&self) -> bool {
        false
    }

    fn remedy_of_loss(&self) -> Option<&'static str> {
        Some("read a plain file instead")
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        use rustix::fs::{Mode, OFlags};
        // Without NONBLOCK, opening a pipe waits until someone writes to it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(&self.path, flags, Mode::empty());
        let file = file.map_err(|error| JobError::io(self.origin(), error.into()))?;
        descriptor::boxed(file, self.origin(), self.framing, opening)
    }
}

#![no_main]
//! A hostile NBD client.

use libfuzzer_sys::fuzz_target;
use saveos_engine::view::nbd;
use std::io::{self, Read, Write};

struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let disk = vec![7u8; 64 * 1024];
    let _ = nbd::serve(&disk, &mut Client(input));
});

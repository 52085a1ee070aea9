//! A read-only NBD server for one client at a time over a unix socket: fixed newstyle handshake, simple replies.
//!
//! After the protocol document of the NBD project (doc/proto.md); QEMU, nbd-client and nbdkit's tools speak it. Everything
//! that would write is refused with EPERM, every length is bounded before memory is taken.

use crate::read::ReadAt;
use std::io::{self, Read, Write};

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;

/// HAS_FLAGS, READ_ONLY, CAN_MULTI_CONN: nothing changes, so clients may use several connections.
const TRANSMISSION_FLAGS: u16 = 1 | 1 << 1 | 1 << 8;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
const REP_ERR_INVALID: u32 = 1 << 31 | 3;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;

const EPERM: u32 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// Longest option and longest single read; clients learn the second from the block size information.
const OPTION_MAX: u32 = 4096;
const READ_MAX: u32 = 32 * 1024 * 1024;
/// Longest payload of a refused write that is read and thrown away.
const WRITE_MAX: u32 = 32 * 1024 * 1024;

/// Serves one connection until the client leaves. `Ok` also when it leaves in the middle of the handshake.
pub fn serve(disk: &dyn ReadAt, stream: &mut (impl Read + Write)) -> io::Result<()> {
    match handshake(disk, stream) {
        Ok(Some(())) => transmit(disk, stream),
        Ok(None) => Ok(()),
        Err(gone) if gone.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(other) => Err(other),
    }
}

fn handshake(disk: &dyn ReadAt, stream: &mut (impl Read + Write)) -> io::Result<Option<()>> {
    let mut hello = Vec::new();
    hello.extend_from_slice(&NBDMAGIC.to_be_bytes());
    hello.extend_from_slice(&IHAVEOPT.to_be_bytes());
    hello.extend_from_slice(&(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let client_flags = u32::from_be_bytes(read_array(stream)?);
    let no_zeroes = client_flags & u32::from(FLAG_NO_ZEROES) != 0;
    // A client that only ever asks for options gets bored answers, not our time for ever.
    for _ in 0..1000 {
        if u64::from_be_bytes(read_array(stream)?) != IHAVEOPT {
            return Err(invalid("no option magic"));
        }
        let option = u32::from_be_bytes(read_array(stream)?);
        let len = u32::from_be_bytes(read_array(stream)?);
        if len > OPTION_MAX {
            return Err(invalid("an option longer than 4 KiB"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => {
                let mut reply = disk.len().to_be_bytes().to_vec();
                reply.extend_from_slice(&TRANSMISSION_FLAGS.to_be_bytes());
                reply.resize(reply.len() + if no_zeroes { 0 } else { 124 }, 0);
                stream.write_all(&reply)?;
                return Ok(Some(()));
            }
            OPT_GO | OPT_INFO => match info_is_whole(&data) {
                false => option_reply(stream, option, REP_ERR_INVALID, &[])?,
                true => {
                    let mut export = vec![0, 0];
                    export.extend_from_slice(&disk.len().to_be_bytes());
                    export.extend_from_slice(&TRANSMISSION_FLAGS.to_be_bytes());
                    option_reply(stream, option, REP_INFO, &export)?;
                    let sizes: Vec<u8> = [1u32, 4096, READ_MAX].iter().flat_map(|size| size.to_be_bytes()).collect();
                    option_reply(stream, option, REP_INFO, &[&[0, 3], sizes.as_slice()].concat())?;
                    option_reply(stream, option, REP_ACK, &[])?;
                    if option == OPT_GO {
                        return Ok(Some(()));
                    }
                }
            },
            OPT_LIST => {
                option_reply(stream, option, REP_SERVER, &0u32.to_be_bytes())?;
                option_reply(stream, option, REP_ACK, &[])?;
            }
            OPT_ABORT => {
                option_reply(stream, option, REP_ACK, &[])?;
                return Ok(None);
            }
            _ => option_reply(stream, option, REP_ERR_UNSUP, &[])?,
        }
    }
    Err(invalid("a thousand options and no export"))
}

/// `name length u32, name, count u16, count × u16`. The name does not matter: there is one export.
fn info_is_whole(data: &[u8]) -> bool {
    let Some((len, rest)) = data.split_first_chunk::<4>() else { return false };
    let Some(rest) = rest.get(u32::from_be_bytes(*len) as usize..) else { return false };
    let Some((count, rest)) = rest.split_first_chunk::<2>() else { return false };
    rest.len() == 2 * usize::from(u16::from_be_bytes(*count))
}

fn option_reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
    reply.extend_from_slice(&option.to_be_bytes());
    reply.extend_from_slice(&kind.to_be_bytes());
    reply.extend_from_slice(&(data.len() as u32).to_be_bytes());
    reply.extend_from_slice(data);
    stream.write_all(&reply)
}

fn transmit(disk: &dyn ReadAt, stream: &mut (impl Read + Write)) -> io::Result<()> {
    loop {
        let header: [u8; 28] = match read_array(stream) {
            Ok(header) => header,
            Err(gone) if gone.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(other) => return Err(other),
        };
        let field = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if field(0) != REQUEST {
            return Err(invalid("no request magic"));
        }
        let command = field(4) as u16;
        let offset = u64::from(field(16)) << 32 | u64::from(field(20));
        let len = field(24);
        let mut reply = SIMPLE_REPLY.to_be_bytes().to_vec();
        let mut data = Vec::new();
        let error = match command {
            CMD_DISC => return Ok(()),
            CMD_READ if len == 0 || len > READ_MAX || offset.saturating_add(len.into()) > disk.len() => EINVAL,
            CMD_READ => {
                data.resize(len as usize, 0);
                if disk.read_at(offset, &mut data).is_ok() { 0 } else { EIO }
            }
            CMD_FLUSH => 0,
            CMD_WRITE => {
                if len > WRITE_MAX {
                    return Err(invalid("a write longer than 32 MiB on a read-only export"));
                }
                io::copy(&mut stream.take(len.into()), &mut io::sink())?;
                EPERM
            }
            _ => EPERM,
        };
        reply.extend_from_slice(&error.to_be_bytes());
        reply.extend_from_slice(&header[8..16]);
        stream.write_all(&reply)?;
        if error == 0 {
            stream.write_all(&data)?;
        }
    }
}

fn read_array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

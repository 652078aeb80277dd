//! Frames on the socket: a little-endian u32 length and that many bytes of JSON.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// docs/protocol.md: a longer frame ends the connection.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// `None` at the end of the stream between two frames.
pub fn read_frame(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        let message = format!("a frame of {length} bytes");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

pub fn write_frame(stream: &mut impl Write, body: &[u8]) -> Result<()> {
    if body.len() > MAX_FRAME_BYTES {
        let message = format!("a frame of {} bytes", body.len());
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_frames_and_their_end() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, b"{}").expect("write");
        write_frame(&mut bytes, b"").expect("write");
        let mut stream = bytes.as_slice();
        assert_eq!(read_frame(&mut stream).expect("read"), Some(b"{}".to_vec()));
        assert_eq!(read_frame(&mut stream).expect("read"), Some(Vec::new()));
        assert_eq!(read_frame(&mut stream).expect("end"), None);
    }

    #[test]
    fn refuses_frames_that_are_too_long() {
        let mut stream = [0xff; 8].as_slice();
        assert!(read_frame(&mut stream).is_err());
        assert!(write_frame(&mut Vec::new(), &vec![0; MAX_FRAME_BYTES + 1]).is_err());
    }
}

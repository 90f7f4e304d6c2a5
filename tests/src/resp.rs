//! Where one message of the Redis protocol ends and the next one begins.

/// What is no message of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotResp;

/// The length of the first message in `bytes`, line ends included; `None` while it is not complete.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, NotResp> {
    let Some((&kind, _)) = bytes.split_first() else { return Ok(None) };
    if !b"+-:,#_(!=$*~>%|".contains(&kind) {
        return Err(NotResp);
    }
    let Some(line) = line(bytes) else { return Ok(None) };
    let header = line.len() + 2;
    let count = || std::str::from_utf8(&line[1..]).ok().and_then(|count| count.parse::<i64>().ok()).ok_or(NotResp);
    match kind {
        b'$' | b'!' | b'=' => {
            // A negative length is the old way to say *nothing*.
            let Ok(length) = usize::try_from(count()?) else { return Ok(Some(header)) };
            let whole = header + length + 2;
            Ok((bytes.len() >= whole).then_some(whole))
        }
        b'*' | b'~' | b'>' => elements(bytes, header, count()?),
        b'%' | b'|' => elements(bytes, header, 2 * count()?),
        _ => Ok(Some(header)),
    }
}

fn elements(bytes: &[u8], header: usize, count: i64) -> Result<Option<usize>, NotResp> {
    let mut whole = header;
    for _ in 0..count {
        match length(&bytes[whole..])? {
            Some(length) => whole += length,
            None => return Ok(None),
        }
    }
    Ok(Some(whole))
}

/// The first line, without its end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|end| end == b"\r\n").map(|end| &bytes[..end])
}

/// The words of a command, which is an array of strings; nothing if it is something else.
pub(crate) fn words(message: &[u8]) -> Vec<String> {
    let Some(mut rest) = line(message).filter(|line| line.starts_with(b"*")).map(|line| &message[line.len() + 2..])
    else {
        return Vec::new();
    };
    let mut words = Vec::new();
    while let (Some(header), Ok(Some(whole))) = (line(rest), length(rest)) {
        if !header.starts_with(b"$") {
            return Vec::new();
        }
        let word = &rest[(header.len() + 2).min(whole - 2)..whole - 2];
        words.push(String::from_utf8_lossy(word).into_owned());
        rest = &rest[whole..];
    }
    words
}

/// Whether a reply answers nothing: it was pushed, and does not confirm a subscription.
pub(crate) fn is_out_of_turn(reply: &[u8]) -> bool {
    let Some(header) = line(reply).filter(|line| line.starts_with(b">")) else { return false };
    let mut kind =
        reply[header.len() + 2..].split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
    !kind.nth(1).is_some_and(|kind| kind.ends_with(b"subscribe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_they_end() {
        for message in [
            "+OK\r\n",
            "-ERR no\r\n",
            ":1000\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$4\r\na\r\nb\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*3\r\n:1\r\n$2\r\nab\r\n*1\r\n+x\r\n",
            "%1\r\n+key\r\n:1\r\n",
            ">2\r\n+a\r\n+b\r\n",
            "_\r\n",
        ] {
            let bytes = message.as_bytes();
            for end in 0..bytes.len() {
                assert_eq!(length(&bytes[..end]), Ok(None), "{message:?} up to {end}");
            }
            let more = [bytes, b"+OK\r\n"].concat();
            assert_eq!(length(&more), Ok(Some(bytes.len())), "{message:?}");
        }
        assert_eq!(length(b"PING\r\n"), Err(NotResp));
        assert_eq!(length(b"$x\r\n"), Err(NotResp));
    }

    #[test]
    fn a_confirmation_is_an_answer() {
        assert!(is_out_of_turn(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$9\r\nsubscribe\r\n"));
        assert!(!is_out_of_turn(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"));
        assert!(!is_out_of_turn(b"*1\r\n$7\r\nmessage\r\n"));
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(words(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"), ["SET", "k", ""]);
        assert!(words(b"+OK\r\n").is_empty());
        assert!(words(b"*1\r\n:1\r\n").is_empty());
    }
}

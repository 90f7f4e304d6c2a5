use lock_runtime::LockError;

// Without the attribute.
async fn settle(mut lines: Vec<u64>) -> Result<u64, LockError> {
    let first = &mut lines;
    lines.push(1);
    first.push(2);
    Ok(0)
}

fn main() {}

use lock_runtime::distributed_lock;

#[distributed_lock(key = "order:{ids}", tll = "5s", wait = 2, on_busy = "ignore", guard = id)]
async fn settle(id: u64) {
    println!("{id}");
}

fn main() {}

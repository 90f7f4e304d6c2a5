use lock_runtime::key;

fn main() {
    let (shop, id) = (1, 2);
    key!("order:{shop}{id}");
    key!("order:{idd}");
    key!(id);
}

//! One process of the benchmark of waiting, which starts many of them.

fn main() {
    lock_benchmarks::serve();
}

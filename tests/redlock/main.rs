//! Redlock over real servers. (Over stores in memory, case by case: in `lock-runtime`.)

mod cases;
mod fencing;
mod rows;
mod servers;

from stocktake.devices import let_threads_sleep

let_threads_sleep()  # before any test imports torch: on a busy machine spinning threads cost five times

<?php
// Floats drawn at random, of all sizes and of those that people write: lines of what serialize() and
// json_encode() say of each, with a blank between them. Arguments: a seed and a number.
[, $seed, $count] = $argv;
mt_srand((int) $seed);
for ($n = 0; $n < (int) $count; $n++) {
    $bits = unpack('d', pack('NN', mt_rand(0, 0xffffffff), mt_rand(0, 0xffffffff)))[1];
    $plain = mt_rand(-1000000, 1000000) / 10 ** mt_rand(0, 8);
    $power = mt_rand(1, 99) * 10.0 ** mt_rand(-8, 25);
    foreach ([$bits, $plain, $power] as $float) {
        if (is_finite($float)) echo serialize($float), ' ', json_encode($float), "\n";
    }
}

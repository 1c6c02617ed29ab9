<?php
// What the start scripts share: the vendor folder, and a state of its own for each process.
require vendor() . '/autoload.php';

function vendor(): string
{
    return rtrim((string) getenv('GATEWAYWORKER_PHP_VENDOR'), '/');
}

/** Runs what was set up, in the foreground; pid and log are files in STATE. */
function run(): void
{
    $state = getenv('STATE');
    \Workerman\Worker::$pidFile = "$state.pid";
    \Workerman\Worker::$logFile = "$state.log";
    \Workerman\Worker::$statusFile = "$state.status";
    \Workerman\Worker::runAll();
}

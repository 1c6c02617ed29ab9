<?php
// Starts the businessworkers, which run Events.php. The gateway and the register are other programs: see README.md.
//
//   php start_businessworker.php start      (-d: in the background; stop, restart, reload, status)

use GatewayWorker\BusinessWorker;
use Workerman\Worker;

require __DIR__ . '/bootstrap.php';

$worker = new BusinessWorker();
$worker->name = 'PhpChat';
$worker->count = 2;
// The variables that the gateway and the register read, too.
$worker->registerAddress = explode(',', getenv('GATEWAYWORKER_REGISTER_ADDRESS') ?: '127.0.0.1:1236');
$worker->secretKey = getenv('GATEWAYWORKER_SECRET_KEY') ?: '';
$worker->eventHandler = Events::class;

Worker::runAll();

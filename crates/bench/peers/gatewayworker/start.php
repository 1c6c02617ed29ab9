<?php
// One role of the original: start.php register|gateway|worker, as the script `run` starts it. VENDOR is a Composer
// vendor directory, or a file that loads the classes; the other settings are in `run`.
require __DIR__ . '/events.php';
$vendor = getenv('VENDOR') ?: __DIR__ . '/vendor';
require is_dir($vendor) ? "$vendor/autoload.php" : $vendor;

$role = getenv('ROLE');
$state = getenv('STATE');
$register = '127.0.0.1:' . getenv('REGISTER_PORT');
switch ($role) {
    case 'register':
        new \GatewayWorker\Register("text://$register");
        break;
    case 'gateway':
        $gateway = new \GatewayWorker\Gateway('websocket://127.0.0.1:' . getenv('WS_PORT'));
        $gateway->count = (int) getenv('GATEWAYS');
        $gateway->lanIp = '127.0.0.1';
        $gateway->startPort = (int) getenv('START_PORT');
        $gateway->registerAddress = $register;
        break;
    case 'worker':
        $worker = new \GatewayWorker\BusinessWorker();
        $worker->count = (int) getenv('WORKERS');
        $worker->registerAddress = $register;
        $worker->eventHandler = \Bench\Events::class;
        break;
    default:
        fwrite(STDERR, "ROLE is register, gateway or worker\n");
        exit(2);
}
// The original writes its state beside its own sources unless told.
\Workerman\Worker::$pidFile = "$state/$role.master.pid";
\Workerman\Worker::$logFile = "$state/$role.workerman.log";
\Workerman\Worker::$statusFile = "$state/$role.status";
\Workerman\Worker::runAll();

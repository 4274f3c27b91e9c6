console.log("hi", process.version, process.pid, process.argv.slice(2))

// Command stack starts real peers for the AWS side of Penstock on this machine, without an account or a container:
// kinesis-mock for Kinesis, dynalite for DynamoDB, versitygw for S3 and moto for Glue. Each is a plain process that listens on
// loopback and forgets everything when it ends, which it does with this program, however that ends.
//
//	stack                       start them, print the environment, and run until a signal
//	stack run -- COMMAND…       start them, run the command in that environment, and end with its status
//	stack setup                 make stream, bucket and database on peers that run already, docker-compose.yml's
//	stack install               only install what they need
//
// The environment is that of Penstock's services in docker-compose.yml, with loopback in the place of the hosts there.
//
// What docs/aws-peers.md says that they do not enforce, a test has to get from infra/aws/faultproxy.
//
// It may import the AWS SDK and versitygw; never an adapter or a core: it must be able to stand for AWS to all of them.
package main

package aws

import _ "penstock/infra/local"

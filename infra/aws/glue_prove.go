//go:build !frontend

package aws

import (
	"context"
	"fmt"
)

// Prove fails unless the table is there, is an Iceberg table, and can be read and updated. The update sends back what was read,
// under its VersionId: it changes nothing but that, and no commit that another makes meanwhile is undone. Such a commit makes it a
// conflict, which proves the permission as well; and who is told of a conflict by this update tries again (Swap).
//
// That the table and its database may be created is not proven: it could not be without one that is left over, or a permission
// to delete that no process needs.
func (p *Pointer) Prove(ctx context.Context) error {
	t, err := p.get(ctx)
	if err != nil {
		return err
	}
	if t == nil {
		return fmt.Errorf("%s is not in region %s: check the name and AWS_REGION, or start a lake consumer, which makes it "+
			"(allow glue:CreateTable and glue:CreateDatabase to it)", p, p.client.Options().Region)
	}
	err = p.send(ctx, t, t.Parameters)
	if hasCode(err, "ConcurrentModificationException") {
		return nil
	}
	return err
}
